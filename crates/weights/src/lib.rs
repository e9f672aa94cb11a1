//! Bytes to typed tensors: GGUF and safetensors in and out, block codecs in scalar form, the memory map.
//!
//! ```no_run
//! # fn main() -> Result<(), weights::WeightsError> {
//! let checkpoint = weights::Checkpoint::open("model.gguf".as_ref())?;
//! for tensor in checkpoint.tensors() {
//!     println!("{} {} {:?}", tensor.name, tensor.dtype, tensor.shape);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Opening a checkpoint reads headers only: tensor data stays in a read-only memory map and is paged in when it is used.
//! Every count, length and offset of a file is checked against the file's size before anything is allocated for it.
//! Not here: network, arithmetic for speed, the meaning of a tensor.

pub mod adapter;
mod bytes;
mod checkpoint;
mod codec;
mod dtype;
mod error;
mod fingerprint;
pub mod gguf;
mod map;
pub mod packed;
pub mod safetensors;
mod tensor;
mod write;

pub use adapter::{Adapter, AdapterError, AdapterForm, LowRank};
pub use bytes::Bytes;
pub use checkpoint::Checkpoint;
pub use codec::{dequantize, quantize};
pub use dtype::{DType, OtherType};
pub use error::{
    CodecError, FolderError, GgufError, MetadataError, SafetensorsError, WeightsError,
};
pub use gguf::{Array, Gguf, GgufWriter, Metadata, Strings, Text, Value};
pub use packed::{PackedError, PackedFile, PackedMatrix, PackedWriter};
pub use safetensors::{HfFolder, write_safetensors};
pub use tensor::Tensor;
