//! Writing GGUF files, version 3: metadata first, then tensor data streamed one tensor after the other.

use super::{Array, DEFAULT_ALIGNMENT, Metadata, Text, Value, ValueType};
use crate::{Bytes, DType, WeightsError, quantize, write::write_file};
use std::io::{self, Write};
use std::path::Path;

/// Values encoded at a time when a tensor is given as floats.
const ENCODE_RUN: usize = 1 << 16;

type Producer<'a> = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + 'a>;

/// A GGUF file to be written. Tensor data is produced only while it is written, so a model need not fit in memory.
///
/// ```no_run
/// # fn main() -> Result<(), weights::WeightsError> {
/// use weights::{DType, GgufWriter};
/// let mut file = GgufWriter::new();
/// file.set("general.architecture", "llama");
/// file.tensor_f32("output_norm.weight", DType::F32, &[4], vec![1.0; 4]);
/// file.write("tiny.gguf".as_ref())?;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct GgufWriter<'a> {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Planned<'a>>,
}

struct Planned<'a> {
    name: String,
    dtype: DType,
    /// Outermost first.
    shape: Vec<usize>,
    data: Producer<'a>,
}

impl<'a> GgufWriter<'a> {
    /// An empty file.
    pub fn new() -> GgufWriter<'a> {
        GgufWriter::default()
    }

    /// Sets a metadata key; a key that is set already keeps its place.
    ///
    /// `general.alignment` (u32) also decides where tensor data is placed.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        match self.metadata.iter_mut().find(|(k, _)| k == key) {
            Some(entry) => entry.1 = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
        self
    }

    /// Sets all keys of another file, but for those that would make this file a part of a split one.
    pub fn set_all(&mut self, metadata: &Metadata) -> &mut Self {
        for (key, value) in metadata.iter().filter(|(key, _)| !key.starts_with("split.")) {
            self.set(key, value.clone());
        }
        self
    }

    /// Adds a tensor whose bytes `data` writes when its turn comes: exactly as many as `dtype` and `shape` (outermost first) take.
    pub fn tensor(
        &mut self,
        name: impl Into<String>,
        dtype: DType,
        shape: &[usize],
        data: impl FnOnce(&mut dyn Write) -> io::Result<()> + 'a,
    ) -> &mut Self {
        let (name, shape, data) = (name.into(), shape.to_vec(), Box::new(data));
        self.tensors.push(Planned { name, dtype, shape, data });
        self
    }

    /// Adds a tensor whose encoded bytes are at hand.
    pub fn tensor_bytes(
        &mut self,
        name: impl Into<String>,
        dtype: DType,
        shape: &[usize],
        data: Bytes,
    ) -> &mut Self {
        self.tensor(name, dtype, shape, move |out| out.write_all(&data))
    }

    /// Adds a tensor of floats, which are encoded as `dtype` when its turn comes.
    pub fn tensor_f32(
        &mut self,
        name: impl Into<String>,
        dtype: DType,
        shape: &[usize],
        values: impl AsRef<[f32]> + 'a,
    ) -> &mut Self {
        self.tensor(name, dtype, shape, move |out| {
            for run in values.as_ref().chunks(ENCODE_RUN) {
                out.write_all(&quantize(dtype, run).map_err(io::Error::other)?)?;
            }
            Ok(())
        })
    }

    /// Writes the file; on failure nothing is left and a file that was there before stays.
    ///
    /// # Errors
    /// A name, shape or type that the format has no place for, data of another length than announced, or the disk.
    pub fn write(self, path: &Path) -> Result<(), WeightsError> {
        let invalid = |reason| WeightsError::Write { path: path.into(), reason };
        let alignment = self.alignment().map_err(invalid)?;
        let plan = self.plan(alignment).map_err(invalid)?;
        write_file(path, |out| {
            let failed = |source| WeightsError::io("write", path, source);
            out.write_all(&plan.header).map_err(failed)?;
            let mut pad = plan.header.len() as u64;
            for (tensor, bytes) in self.tensors.into_iter().zip(plan.tensor_bytes) {
                write_padding(out, pad, alignment).map_err(failed)?;
                let mut counted = Counted { out, written: 0 };
                let name = tensor.name;
                (tensor.data)(&mut counted).map_err(|e| invalid(format!("tensor {name}: {e}")))?;
                if counted.written != bytes {
                    let found = counted.written;
                    return Err(invalid(format!(
                        "tensor {name}: expected {bytes} bytes, found {found}"
                    )));
                }
                pad = bytes;
            }
            Ok(())
        })
    }

    fn alignment(&self) -> Result<u64, String> {
        match self.metadata.iter().find(|(key, _)| key == "general.alignment") {
            None => Ok(DEFAULT_ALIGNMENT),
            Some((_, Value::U32(a))) if a.is_power_of_two() => Ok((*a).into()),
            Some(_) => Err("general.alignment: expected a power of two of type u32".into()),
        }
    }

    fn plan(&self, alignment: u64) -> Result<Plan, String> {
        let mut header = b"GGUF".to_vec();
        header.extend(3u32.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_string(&mut header, key.as_bytes());
            header.extend((value.value_type() as u32).to_le_bytes());
            put_value(&mut header, value);
        }
        let (mut offset, mut tensor_bytes) = (0u64, Vec::new());
        for tensor in &self.tensors {
            let bytes = tensor.bytes()?;
            tensor.put_entry(&mut header, offset)?;
            offset = (offset + bytes).next_multiple_of(alignment);
            tensor_bytes.push(bytes);
        }
        Ok(Plan { header, tensor_bytes })
    }
}

struct Plan {
    header: Vec<u8>,
    /// Bytes of each tensor's data.
    tensor_bytes: Vec<u64>,
}

impl Planned<'_> {
    fn bytes(&self) -> Result<u64, String> {
        let (name, dtype) = (&self.name, self.dtype);
        let refused = || format!("tensor {name}: {dtype} cannot have the shape {:?}", self.shape);
        let (cols, outer) = self.shape.split_last().ok_or_else(refused)?;
        let row = dtype.row_bytes(*cols).ok_or_else(refused)?;
        let bytes = outer.iter().try_fold(row, |n, &d| n.checked_mul(d));
        bytes.filter(|&b| b > 0 && self.shape.len() <= 4).map(|b| b as u64).ok_or_else(refused)
    }

    fn put_entry(&self, header: &mut Vec<u8>, offset: u64) -> Result<(), String> {
        let number = self.dtype.gguf_number();
        let number = number.ok_or_else(|| format!("GGUF has no type {}", self.dtype))?;
        put_string(header, self.name.as_bytes());
        header.extend((self.shape.len() as u32).to_le_bytes());
        header.extend(self.shape.iter().rev().flat_map(|&d| (d as u64).to_le_bytes()));
        header.extend(number.to_le_bytes());
        header.extend(offset.to_le_bytes());
        Ok(())
    }
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.extend(v.to_le_bytes()),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(text) => put_string(out, Text::as_bytes(text)),
        Value::Array(array) => put_array(out, array),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    let element_type: ValueType = array.element_type();
    out.extend((element_type as u32).to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::Numbers(numbers) => out.extend(numbers.data()),
        Array::Strings(strings) => out.extend(strings.data()),
        Array::Arrays(arrays) => arrays.iter().for_each(|inner| put_array(out, inner)),
    }
}

/// Fills up with zeros from `len` to the next multiple of `alignment`.
fn write_padding(out: &mut dyn Write, len: u64, alignment: u64) -> io::Result<()> {
    let padding = len.next_multiple_of(alignment) - len;
    io::copy(&mut io::Read::take(io::repeat(0), padding), out).map(|_| ())
}

struct Counted<'a> {
    out: &'a mut dyn Write,
    written: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
