//! Weights that were packed before: the same bytes from every instruction set and version, the
//! same numbers from a map, and whatever stands in their place stays inside its buffers.

use super::*;
use weights::PackedMatrix;

const PRECISIONS: [Precision; 3] = [Precision::Quantized, Precision::ExactFloats, Precision::F32];
const ROWS: usize = 37;
const COLS: usize = 512;

/// FNV-1a (Fowler, Noll and Vo).
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// Bytes as a file's map would hand them out: aligned to a page.
fn kept(matrix: &Matrix) -> PackedMatrix {
    let (kind, bytes) = matrix.to_packed();
    PackedMatrix { kind, rows: matrix.rows(), cols: matrix.cols(), data: aligned(bytes) }
}

fn aligned(bytes: &[u8]) -> Bytes {
    let mut room = vec![0u8; bytes.len() + 4096];
    let start = room.as_ptr().align_offset(4096);
    room[start..start + bytes.len()].copy_from_slice(bytes);
    Bytes::from_vec(room).slice(start, bytes.len()).expect("inside")
}

fn product(pool: &Pool, matrix: &Matrix, x: &[f32]) -> Vec<f32> {
    let mut input = Activations::new();
    input.set(pool, x, matrix.cols(), &[matrix]);
    let mut out = vec![0f32; x.len() / matrix.cols() * matrix.rows()];
    linear(
        pool,
        &input,
        &mut [Linear { matrix, bias: None, updates: &[], write: Write::Set, out: &mut out }],
    );
    out
}

/// Any bytes as a tensor, all of whose floats are finite: no encoder takes part, and no rounding.
fn any_bytes(dtype: DType) -> Tensor {
    let mut random = Random(5);
    let bytes = ROWS * dtype.row_bytes(COLS).expect("whole blocks");
    let mut data: Vec<u8> = (0..bytes).map(|_| random.next() as u8).collect();
    if matches!(dtype, DType::F16 | DType::BF16) {
        // Without its highest bit an exponent is not all ones.
        data.iter_mut().skip(1).step_by(2).for_each(|high| *high &= 0xbf);
    }
    Tensor::new("test", dtype, vec![ROWS, COLS], Bytes::from_vec(data)).expect("whole blocks")
}

/// The layouts of [`LAYOUT_VERSION`] 1: a hash of each type's packed bytes, quantized and with
/// exact floats.
const GOLDEN: &[(DType, u64, u64)] = &[
    (DType::F32, 0x387c_cfc9_b9af_d5f8, 0x387c_cfc9_b9af_d5f8),
    (DType::F16, 0x39ac_758a_4069_6d62, 0xf352_f9c4_8874_a193),
    (DType::BF16, 0x659d_5d58_e977_1491, 0xf352_f9c4_8874_a192),
    (DType::Q4_0, 0x86eb_96c1_c4c3_c4fa, 0x86eb_96c1_c4c3_c4fa),
    (DType::Q4_1, 0xb5c6_c6c0_e92d_e61f, 0xb5c6_c6c0_e92d_e61f),
    (DType::Q5_0, 0xa741_2b65_2a95_8b98, 0xa741_2b65_2a95_8b98),
    (DType::Q5_1, 0x5526_19c7_8a50_050c, 0x5526_19c7_8a50_050c),
    (DType::Q8_0, 0xe58b_4f21_4030_5bed, 0xe58b_4f21_4030_5bed),
    (DType::Q2_K, 0x55b8_0a92_9e83_6d8f, 0x55b8_0a92_9e83_6d8f),
    (DType::Q3_K, 0xada1_5c16_6fcd_4cfc, 0xada1_5c16_6fcd_4cfc),
    (DType::Q4_K, 0xb6bc_7fed_8b0c_c585, 0xb6bc_7fed_8b0c_c585),
    (DType::Q5_K, 0xc2ca_8852_824a_ebb4, 0xc2ca_8852_824a_ebb4),
    (DType::Q6_K, 0x99ef_42a4_f4bc_17f6, 0x99ef_42a4_f4bc_17f6),
    (DType::IQ4_NL, 0x86eb_96c1_c4c3_c4f0, 0x86eb_96c1_c4c3_c4f0),
    (DType::IQ4_XS, 0x3138_7040_d38f_c38e, 0x3138_7040_d38f_c38e),
];

#[test]
fn packed_bytes_change_only_with_the_layout_version() {
    let pool = Pool::new(2);
    let mut got = Vec::new();
    for dtype in DType::SUPPORTED {
        let t = any_bytes(dtype);
        let [quantized, floats, exact] = PRECISIONS.map(|precision| {
            let matrix = Matrix::pack(&pool, &t, precision).expect("packs");
            let (kind, bytes) = matrix.to_packed();
            hash(bytes) ^ u64::from(kind)
        });
        assert_eq!(floats, exact, "{dtype:?}");
        let same = Matrix::packs_alike(dtype, COLS, PRECISIONS[0], PRECISIONS[1]);
        assert_eq!(same, quantized == floats, "{dtype:?}");
        got.push((dtype, quantized, floats));
    }
    assert!(
        LAYOUT_VERSION == 1 && got == GOLDEN,
        "packed weights have other bytes than LAYOUT_VERSION {LAYOUT_VERSION} had: files that \
         people keep would be read wrongly. Add one to it, and put these in place of GOLDEN:\n\
         {got:#x?}"
    );
}

#[test]
fn packed_bytes_are_the_same_on_every_instruction_set() {
    // Integers are the one packing that is computed with vectors.
    for (dtype, seed) in [(DType::F16, 1), (DType::BF16, 2), (DType::F16, 3), (DType::BF16, 4)] {
        let t = tensor(dtype, 16, COLS, seed);
        let row_bytes = t.data.len() / 16;
        let packed = |isa: Isa| {
            let kernels = kernels_for(isa);
            let pack = if dtype == DType::F16 { kernels.pack_f16 } else { kernels.pack_bf16 };
            let blocks = COLS / BLOCK;
            let mut panel = vec![0u8; crate::layout::integers::panel_bytes(blocks)];
            for lane in 0..16 {
                let row = &t.data[lane * row_bytes..][..row_bytes];
                // SAFETY: the row has the blocks, the panel their bytes, the CPU the level.
                unsafe { pack(row.as_ptr(), lane, blocks, panel.as_mut_ptr()) };
            }
            panel
        };
        for isa in Isa::all_available() {
            assert!(packed(isa) == packed(Isa::Scalar), "{dtype:?} on {}", isa.name());
        }
    }
}

#[test]
fn a_weight_that_was_packed_before_gives_the_same_bits() {
    let pool = Pool::new(2);
    let x = Random(9).floats(3 * COLS);
    for dtype in DType::SUPPORTED {
        let t = hostile_tensor(dtype, ROWS, COLS, 6);
        for precision in PRECISIONS {
            let matrix = Matrix::pack(&pool, &t, precision).expect("packs");
            let again = Matrix::from_packed(&t, precision, &kept(&matrix)).expect("it fits");
            assert_eq!(again.bytes(), matrix.bytes());
            assert_eq!(again.activation_format(), matrix.activation_format());
            let products = [&matrix, &again].map(|m| bits(&product(&pool, m, &x)));
            assert!(products[0] == products[1], "{dtype:?} {precision:?}");
            let rows = [&matrix, &again].map(|m| {
                let mut row = vec![0f32; COLS];
                m.dequantize_row(ROWS - 1, &mut row);
                bits(&row)
            });
            assert!(rows[0] == rows[1], "{dtype:?} {precision:?}");
        }
    }
}

#[test]
fn floats_that_cannot_be_integers_are_kept_as_floats() {
    let pool = Pool::new(1);
    for (dtype, infinity) in [(DType::F16, 0x7c00u16), (DType::BF16, 0x7f80)] {
        let mut t = tensor(dtype, 5, 64, 1);
        let mut bytes = t.data.to_vec();
        bytes[10..12].copy_from_slice(&infinity.to_le_bytes());
        t.data = Bytes::from_vec(bytes);
        let matrix = Matrix::pack(&pool, &t, Precision::Quantized).expect("packs");
        assert_eq!(matrix.activation_format(), ActivationFormat::F32);
        let again = Matrix::from_packed(&t, Precision::Quantized, &kept(&matrix)).expect("fits");
        let x = Random(2).floats(64);
        let products = [&matrix, &again].map(|m| bits(&product(&pool, m, &x)));
        assert_eq!(products[0], products[1]);
    }
}

#[test]
fn what_a_tensor_does_not_pack_to_is_refused() {
    let pool = Pool::new(1);
    let t = tensor(DType::Q4_0, 20, 64, 1);
    let good = kept(&Matrix::pack(&pool, &t, Precision::Quantized).expect("packs"));
    let said = |change: &dyn Fn(&mut PackedMatrix)| {
        let mut packed = good.clone();
        change(&mut packed);
        let refused = Matrix::from_packed(&t, Precision::Quantized, &packed);
        refused.err().expect("it does not fit").to_string()
    };
    let len = good.data.len();
    for (said, expected) in [
        (said(&|p| p.rows = 21), "expected a packed weight of shape 20×64, got 21×64"),
        (said(&|p| p.cols = 32), "shape"),
        (said(&|p| p.kind = 6), "kind 5, got 6"),
        (said(&|p| p.kind = 0), "kind 5, got 0"),
        (said(&|p| p.data = p.data.slice(0, len - 1).expect("inside")), "bytes"),
        (said(&|p| p.data = aligned(&[&p.data[..], &[0]].concat())), "bytes"),
        (said(&|p| p.data = Bytes::default()), "bytes"),
        (
            said(&|p| p.data = aligned(&[&[0], &p.data[..]].concat()).slice(1, len).expect("in")),
            "alignment 64, got 1",
        ),
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn whatever_the_bytes_hold_products_stay_in_their_buffers() {
    let pool = Pool::new(2);
    let x = Random(3).floats(5 * COLS);
    for dtype in DType::SUPPORTED {
        for precision in [Precision::Quantized, Precision::F32] {
            let t = tensor(dtype, ROWS, COLS, 6);
            let matrix = Matrix::pack(&pool, &t, precision).expect("packs");
            for seed in 0..8 {
                let mut random = Random(seed * 77 + 1);
                let mut packed = kept(&matrix);
                let bytes: Vec<u8> = (0..packed.data.len())
                    .map(|_| if seed == 0 { 0xff } else { random.next() as u8 })
                    .collect();
                packed.data = aligned(&bytes);
                let hostile = Matrix::from_packed(&t, precision, &packed).expect("sizes fit");
                product(&pool, &hostile, &x);
                hostile.dequantize_row(ROWS - 1, &mut vec![0f32; COLS]);
                let columns = columns_of(Isa::Scalar, &x, COLS, hostile.activation_format());
                for isa in Isa::all_available() {
                    products(isa, &hostile, &columns);
                }
            }
        }
    }
}
