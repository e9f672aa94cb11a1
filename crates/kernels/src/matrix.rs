//! A weight matrix, packed for the kernels: it owns shape, layout and bytes.

use crate::KernelError;
use crate::aligned::{Arena, SharedMut};
use crate::dispatch::kernels;
use crate::layout::{self, BLOCK, Layout, PANEL_ROWS, block_at, integers, pack_row, panel_bytes};
use crate::packed::Storage;
use crate::pool::Pool;
use crate::simd::Scalar;
use weights::{DType, Tensor};

/// What products of a weight do with their input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Inputs are rounded to 8 or 16 bits in blocks of 32, as the weight's layout asks (see
    /// [`crate::activations`]); F16 and BF16 weights to 14 bits. F32 weights stay exact.
    Quantized,
    /// As `Quantized`, but F16 and BF16 weights stay exact and take f32 inputs.
    ExactFloats,
    /// Inputs stay f32: products with the exact decoded weights. Slow for quantized weights;
    /// a reference.
    F32,
}

/// The form in which a weight takes its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationFormat {
    /// 8-bit integers in blocks of 32.
    I8,
    /// 16-bit integers in blocks of 32.
    I16,
    /// Unchanged.
    F32,
}

/// A packed layout; each is one [`Layout`] or float type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    F32,
    F16,
    Bf16,
    /// F16 or BF16 as 16-bit integers.
    Integers,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
}

/// Calls a generic function with the layout of a packing; floats are handled before.
macro_rules! with_layout {
    ($packing:expr, $l:ident => $body:expr, integers => $integers:expr, float => $float:expr) => {
        match $packing {
            Packing::F32 | Packing::F16 | Packing::Bf16 => $float,
            Packing::Integers => $integers,
            Packing::Q4_0 => {
                type $l = layout::Q4_0;
                $body
            }
            Packing::Q4_1 => {
                type $l = layout::Q4_1;
                $body
            }
            Packing::Q5_0 => {
                type $l = layout::Q5_0;
                $body
            }
            Packing::Q5_1 => {
                type $l = layout::Q5_1;
                $body
            }
            Packing::Q8_0 => {
                type $l = layout::Q8_0;
                $body
            }
            Packing::Q2K => {
                type $l = layout::Q2K;
                $body
            }
            Packing::Q3K => {
                type $l = layout::Q3K;
                $body
            }
            Packing::Q4K => {
                type $l = layout::Q4K;
                $body
            }
            Packing::Q5K => {
                type $l = layout::Q5K;
                $body
            }
            Packing::Q6K => {
                type $l = layout::Q6K;
                $body
            }
            Packing::Iq4Nl => {
                type $l = layout::Iq4Nl;
                $body
            }
            Packing::Iq4Xs => {
                type $l = layout::Iq4Xs;
                $body
            }
        }
    };
}

impl Packing {
    /// How rows of `cols` values of a type are packed, if they can be.
    pub(crate) fn of(dtype: DType, cols: usize, precision: Precision) -> Option<Packing> {
        let integers = precision == Precision::Quantized && cols.is_multiple_of(BLOCK);
        Some(match dtype {
            DType::F16 | DType::BF16 if integers => Packing::Integers,
            DType::F32 => Packing::F32,
            DType::F16 => Packing::F16,
            DType::BF16 => Packing::Bf16,
            DType::Q4_0 => Packing::Q4_0,
            DType::Q4_1 => Packing::Q4_1,
            DType::Q5_0 => Packing::Q5_0,
            DType::Q5_1 => Packing::Q5_1,
            DType::Q8_0 => Packing::Q8_0,
            DType::Q2_K => Packing::Q2K,
            DType::Q3_K => Packing::Q3K,
            DType::Q4_K => Packing::Q4K,
            DType::Q5_K => Packing::Q5K,
            DType::Q6_K => Packing::Q6K,
            DType::IQ4_NL => Packing::Iq4Nl,
            DType::IQ4_XS => Packing::Iq4Xs,
            _ => return None,
        })
    }

    /// How F16 and BF16 weights that cannot be integers are packed; of others, their own packing.
    pub(crate) fn float_twin(self, dtype: DType) -> Packing {
        match (self, dtype) {
            (Packing::Integers, DType::F16) => Packing::F16,
            (Packing::Integers, DType::BF16) => Packing::Bf16,
            _ => self,
        }
    }

    fn float_bytes(self) -> usize {
        if self == Packing::F32 { 4 } else { 2 }
    }

    pub(crate) fn panel_bytes(self, cols: usize) -> usize {
        with_layout!(self, L => panel_bytes::<L>(cols / BLOCK),
            integers => integers::panel_bytes(cols / BLOCK),
            float => (cols * PANEL_ROWS * self.float_bytes()).next_multiple_of(64))
    }

    fn activation_format(self) -> ActivationFormat {
        fn of<L: Layout>() -> ActivationFormat {
            if <L::Shape as layout::Shape>::WIDE {
                ActivationFormat::I16
            } else {
                ActivationFormat::I8
            }
        }
        with_layout!(self, L => of::<L>(), integers => ActivationFormat::I16,
            float => ActivationFormat::F32)
    }

    /// Packs one row of the file, of type `dtype`.
    fn pack_row(self, dtype: DType, row: &[u8], lane: usize, cols: usize, panel: &mut [u8]) {
        with_layout!(self, L => pack_row::<L>(row, lane, cols / BLOCK, panel),
            integers => pack_integers(dtype, row, lane, cols / BLOCK, panel),
            float => pack_float_row(row, lane, self.float_bytes(), panel))
    }

    /// The columns from `32 · block` of one row of a panel.
    fn decode(self, panel: &[u8], cols: usize, block: usize, to: &mut [f32; BLOCK * PANEL_ROWS]) {
        // SAFETY: the panel has `cols / 32` blocks; the scalar kernels run anywhere.
        with_layout!(self, L => unsafe {
            let block = block_at::<L>(panel.as_ptr(), cols / BLOCK, block);
            crate::product::decode::<Scalar, L>(&block, to)
        }, integers => integers::decode(panel, cols / BLOCK, block, to),
            float => decode_floats(self, panel, cols, block, to))
    }
}

/// Packs a row of F16 or BF16 as integers.
fn pack_integers(dtype: DType, row: &[u8], lane: usize, blocks: usize, panel: &mut [u8]) {
    assert!(row.len() == 2 * BLOCK * blocks && panel.len() >= integers::panel_bytes(blocks));
    let pack = if dtype == DType::F16 { kernels().pack_f16 } else { kernels().pack_bf16 };
    // SAFETY: row and panel have the sizes that were checked; the kernels are this CPU's.
    unsafe { pack(row.as_ptr(), lane, blocks, panel.as_mut_ptr()) };
}

/// Whether all values of F16 or BF16 data are numbers: exponents are not all ones.
fn all_finite(dtype: DType, data: &[u8]) -> bool {
    let exponent = if dtype == DType::F16 { 0x7c00 } else { 0x7f80 };
    let mut broken = false;
    for b in data.chunks_exact(2) {
        broken |= u16::from_le_bytes([b[0], b[1]]) & exponent == exponent;
    }
    !broken
}

fn pack_float_row(row: &[u8], lane: usize, bytes: usize, panel: &mut [u8]) {
    for (k, element) in row.chunks_exact(bytes).enumerate() {
        let at = (k * PANEL_ROWS + lane) * bytes;
        panel[at..at + bytes].copy_from_slice(element);
    }
}

fn decode_floats(packing: Packing, panel: &[u8], cols: usize, block: usize, to: &mut [f32]) {
    let bytes = packing.float_bytes();
    let first = block * BLOCK * PANEL_ROWS;
    let count = (cols * PANEL_ROWS - first).min(to.len());
    let source = &panel[first * bytes..(first + count) * bytes];
    for (out, b) in to.iter_mut().zip(source.chunks_exact(bytes)) {
        *out = match packing {
            Packing::F16 => half::f16::from_le_bytes([b[0], b[1]]).to_f32(),
            Packing::Bf16 => half::bf16::from_le_bytes([b[0], b[1]]).to_f32(),
            _ => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        };
    }
}

/// Bytes of rows that are packed before their source pages are released: bounds how much
/// of a weight is in memory twice.
const RELEASE_BYTES: usize = 8 << 20;

/// A weight (rows × cols) in packed panels of 16 rows.
pub struct Matrix {
    pub(crate) data: Storage,
    pub(crate) packing: Packing,
    pub(crate) exact: bool,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// From one panel to the next.
    pub(crate) panel_bytes: usize,
}

impl Matrix {
    /// Packs a two-dimensional tensor and lets go of its pages as it proceeds, so that
    /// at most a few MiB are in memory twice.
    ///
    /// # Errors
    /// The tensor is not a matrix, has a type without layout, its data has another length
    /// than shape and type say, or there is no memory for the packed form.
    pub fn pack(pool: &Pool, tensor: &Tensor, precision: Precision) -> Result<Matrix, KernelError> {
        let (tensors, mut arena) = (std::slice::from_ref(tensor), Arena::new(0));
        let mut packed = Matrix::pack_all(pool, tensors, precision, &mut arena)?;
        Ok(packed.pop().expect("a matrix for the tensor"))
    }

    /// Packs tensors one after another into one stretch of an arena: small matrices so lie in
    /// large pages, and take few of the maps that a process may have.
    ///
    /// # Errors
    /// As [`Matrix::pack`], for the first tensor that cannot be packed.
    pub fn pack_all(
        pool: &Pool,
        tensors: &[Tensor],
        precision: Precision,
        arena: &mut Arena,
    ) -> Result<Vec<Matrix>, KernelError> {
        let sources = tensors.iter().map(|tensor| Source::check(tensor, precision));
        let sources: Vec<Source<'_>> = sources.collect::<Result<_, _>>()?;
        let bytes = sources.iter().map(Source::packed_bytes).fold(0, usize::saturating_add);
        let mut data = arena.take(bytes).map_err(|source| {
            let tensor = tensors.first().map(|tensor| tensor.name.clone()).unwrap_or_default();
            KernelError::Memory { tensor, bytes, source }
        })?;
        let out = SharedMut(data.writable());
        let mut starts = Vec::with_capacity(sources.len());
        let mut start = 0;
        for source in &sources {
            // SAFETY: this source's part of the data, which nobody else touches.
            unsafe { source.pack(pool, SharedMut(out.at(start))) };
            starts.push(start);
            start += source.packed_bytes();
        }
        let exact = precision == Precision::F32;
        let matrices = sources.iter().zip(starts).map(|(source, start)| {
            let Source { packing, rows, cols, panel_bytes, .. } = *source;
            let data = Storage::Owned(data.part(start, source.packed_bytes()));
            Matrix { data, packing, exact, rows, cols, panel_bytes }
        });
        Ok(matrices.collect())
    }

    /// Asks for panels that will be read soon, and are too few for their reading to ask ahead.
    pub(crate) fn prefetch(&self, panels: std::ops::Range<usize>) {
        let panel_bytes = self.panel_bytes();
        let bytes = panels.start * panel_bytes..panels.end.min(self.panels()) * panel_bytes;
        for at in bytes.step_by(64) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a prefetch takes any address, and every x86-64 processor has it.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T1>(self.data.as_ptr().wrapping_add(at).cast());
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = at;
        }
    }

    /// Outputs of a product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of a product.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of the packed weight.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Bytes that a tensor of this shape and type will keep in memory when packed, or
    /// `None` for a type without layout, with broken rows, or past what can be counted.
    pub fn packed_bytes(
        dtype: DType,
        precision: Precision,
        rows: usize,
        cols: usize,
    ) -> Option<usize> {
        let packing = Packing::of(dtype, cols, precision)?;
        // Packing makes rows a little longer, and never twice as long.
        dtype.row_bytes(cols)?.checked_mul(2 * PANEL_ROWS)?;
        rows.div_ceil(PANEL_ROWS).checked_mul(packing.panel_bytes(cols))
    }

    /// The form in which products with a weight of this type take their input, or `None`
    /// for a type without layout.
    pub fn activation_format_of(
        dtype: DType,
        precision: Precision,
        cols: usize,
    ) -> Option<ActivationFormat> {
        let packing = Packing::of(dtype, cols, precision)?;
        Some(match precision {
            Precision::Quantized | Precision::ExactFloats => packing.activation_format(),
            Precision::F32 => ActivationFormat::F32,
        })
    }

    /// The form in which products take their input.
    pub fn activation_format(&self) -> ActivationFormat {
        if self.exact { ActivationFormat::F32 } else { self.packing.activation_format() }
    }

    /// Decodes row `row` into `out` (cols values): bit-equal to the codec, but for F16 and
    /// BF16 that were packed as integers.
    ///
    /// # Panics
    /// If there is no such row or `out` has another length.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.cols, "a row of {}×{}", self.rows, self.cols);
        let panel = self.bytes_of_panel(row / PANEL_ROWS);
        let lane = row % PANEL_ROWS;
        let mut decoded = [0f32; BLOCK * PANEL_ROWS];
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            self.packing.decode(panel, self.cols, block, &mut decoded);
            for (k, out) in out.iter_mut().enumerate() {
                *out = decoded[k * PANEL_ROWS + lane];
            }
        }
    }

    fn bytes_of_panel(&self, panel: usize) -> &[u8] {
        let bytes = self.panel_bytes;
        &self.data.as_slice()[panel * bytes..(panel + 1) * bytes]
    }

    pub(crate) fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    pub(crate) fn panel_bytes(&self) -> usize {
        self.panel_bytes
    }

    #[cfg(test)]
    pub(crate) fn panel(&self, panel: usize) -> *const u8 {
        self.bytes_of_panel(panel).as_ptr()
    }

    #[cfg(test)]
    pub(crate) fn packing(&self) -> Packing {
        self.packing
    }

    #[cfg(test)]
    pub(crate) fn exact(&self) -> bool {
        self.exact
    }

    /// The sums of some panels for some columns: (panels, columns, 16) into `out`.
    ///
    /// # Safety
    /// The columns are [`crate::Activations`] columns in [`Matrix::activation_format`]
    /// with [`Matrix::cols`] values.
    pub(crate) unsafe fn product(
        &self,
        panels: std::ops::Range<usize>,
        columns: &[*const u8],
        out: &mut [f32],
    ) {
        let out_stride = columns.len() * PANEL_ROWS;
        assert!(out.len() >= panels.len() * out_stride, "room for the sums");
        assert!(panels.end <= self.panels(), "panels of the weight");
        let run = kernels().product(self.packing, self.exact);
        let panel_bytes = self.panel_bytes();
        // SAFETY: the panels are the matrix's.
        let panel = unsafe { self.data.as_ptr().add(panels.start * panel_bytes) };
        let product = crate::product::Product {
            panel,
            panels: panels.len(),
            panel_bytes,
            k: self.cols,
            columns,
            fresh: true,
            out: out.as_mut_ptr(),
            out_stride,
            next: panel.wrapping_add(crate::product::FAR_AHEAD),
        };
        // SAFETY: the panels are whole, the rest is the caller's promise.
        unsafe { run(&product) }
    }
}

/// A tensor that can be packed, and how.
struct Source<'a> {
    tensor: &'a Tensor,
    packing: Packing,
    rows: usize,
    cols: usize,
    /// Of a row of the file.
    row_bytes: usize,
    panel_bytes: usize,
}

impl<'a> Source<'a> {
    fn check(tensor: &'a Tensor, precision: Precision) -> Result<Source<'a>, KernelError> {
        let (mut packing, row_bytes) = check(tensor, precision)?;
        let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
        // As many bytes as a plan has counted, also if the weight stays float below.
        let panel_bytes = packing.panel_bytes(cols);
        if packing == Packing::Integers && !all_finite(tensor.dtype, &tensor.data) {
            packing = packing.float_twin(tensor.dtype);
        }
        Ok(Source { tensor, packing, rows, cols, row_bytes, panel_bytes })
    }

    fn packed_bytes(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS) * self.panel_bytes
    }

    /// Packs all rows and releases the tensor's pages on the way.
    ///
    /// # Safety
    /// `out` names [`Source::packed_bytes`] zero bytes that nobody else touches.
    unsafe fn pack(&self, pool: &Pool, out: SharedMut<u8>) {
        let Source { tensor, packing, rows, cols, row_bytes, panel_bytes } = *self;
        let panels = rows.div_ceil(PANEL_ROWS);
        let source: &[u8] = &tensor.data;
        let step = (RELEASE_BYTES / (row_bytes * PANEL_ROWS).max(1)).max(pool.threads());
        for first in (0..panels).step_by(step) {
            let count = step.min(panels - first);
            pool.ranges(count, count.div_ceil(4 * pool.threads()), |range| {
                for panel in range {
                    let panel = first + panel;
                    // SAFETY: each panel is written by one task.
                    let to = unsafe { out.slice(panel * panel_bytes, panel_bytes) };
                    for lane in 0..PANEL_ROWS.min(rows - panel * PANEL_ROWS) {
                        let at = (panel * PANEL_ROWS + lane) * row_bytes;
                        let row = &source[at..at + row_bytes];
                        packing.pack_row(tensor.dtype, row, lane, cols, to);
                    }
                }
            });
            let from = first * PANEL_ROWS * row_bytes;
            let to = ((first + count) * PANEL_ROWS).min(rows) * row_bytes;
            if let Some(done) = tensor.data.slice(from, to - from) {
                done.release();
            }
        }
    }
}

/// The packing of a tensor that is a matrix and whole, and the bytes of a row in the file.
pub(crate) fn check(
    tensor: &Tensor,
    precision: Precision,
) -> Result<(Packing, usize), KernelError> {
    let name = || tensor.name.clone();
    let &[rows, cols] = tensor.shape.as_slice() else {
        return Err(KernelError::NotAMatrix { tensor: name(), shape: tensor.shape.clone() });
    };
    if rows == 0 || cols == 0 {
        return Err(KernelError::NotAMatrix { tensor: name(), shape: tensor.shape.clone() });
    }
    let dtype = tensor.dtype;
    let Some(packing) = Packing::of(dtype, cols, precision) else {
        return Err(KernelError::Unsupported { tensor: name(), dtype });
    };
    let Some(row_bytes) = dtype.row_bytes(cols) else {
        return Err(KernelError::Columns { tensor: name(), dtype, block: dtype.block_len(), cols });
    };
    let expected = rows.saturating_mul(row_bytes);
    if expected != tensor.data.len() {
        let got = tensor.data.len();
        return Err(KernelError::Length { tensor: name(), dtype, rows, cols, expected, got });
    }
    Ok((packing, row_bytes))
}
