//! Instructions that kernels execute, counted by valgrind and compared with a table: a
//! regression shows without a stopwatch, on any machine and beside any neighbour.
//!
//! This program runs itself below valgrind, on one thread, for each instruction set that
//! valgrind knows; each counted kernel is a function of its own, `counted_NAME`, whose
//! instructions are taken from the profile with those of all that it calls. They depend on the
//! compiler, so the table names its version and counts for that one alone; and on the profile:
//! with debug assertions a kernel executes up to seven times as many.
//!
//! `cargo xtask instructions` compares, with `--bless` it writes the table anew.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use kernels::{
    Activations, AttentionShape, Isa, KvLayer, KvType, Linear, Matrix, Pool, Precision, Span,
    Write, attention, linear, rms_norm,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use weights::{Bytes, DType, Tensor};

/// Set in the process that is counted.
const COUNTED: &str = "FREEHOLD_COUNTED";
/// Set by who wants the table written.
const BLESS: &str = "FREEHOLD_BLESS";
/// Growth above this fails. The same binary is counted the same to a few instructions; what
/// one function's code does to another's inlining and spills stays below one in a hundred, and
/// a change worth a name is larger than two.
const TOLERANCE: f64 = 0.02;

const ROWS: usize = 64;
const COLS: usize = 512;
/// Columns of a prefill: tiles of every instruction set divide it.
const TOKENS: usize = 24;

/// What is prepared before anything is counted.
struct Bench {
    pool: Pool,
    matrix: Matrix,
    input: Activations,
    x: Vec<f32>,
    out: Vec<f32>,
    kv: KvLayer,
}

/// Small random values, the same on every run.
fn values(count: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

/// Heads of attention; keys and values of one sequence.
const SHAPE: AttentionShape = AttentionShape {
    heads: 4,
    kv_heads: 2,
    head_dim: 64,
    scale: 0.125,
    window: None,
    ahead: false,
};
const POSITIONS: usize = 640;
const BLOCKS: [u32; POSITIONS / kernels::BLOCK_TOKENS] = {
    let mut blocks = [0; POSITIONS / kernels::BLOCK_TOKENS];
    let mut i = 0;
    while i < blocks.len() {
        blocks[i] = i as u32;
        i += 1;
    }
    blocks
};

fn span(rows: usize, position: usize) -> Span<'static> {
    Span { first_row: 0, rows, position, blocks: &BLOCKS }
}

impl Bench {
    fn new(dtype: DType) -> Bench {
        let pool = Pool::new(1);
        let weights = values(ROWS * COLS);
        let data = match dtype {
            DType::F32 => weights.iter().flat_map(|w| w.to_le_bytes()).collect(),
            _ => weights::quantize(dtype, &weights).expect("a type with a codec"),
        };
        let tensor = Tensor::new("w", dtype, vec![ROWS, COLS], Bytes::from_vec(data));
        let tensor = tensor.expect("a whole tensor");
        let matrix = Matrix::pack(&pool, &tensor, Precision::Quantized).expect("packs");
        let kv = KvLayer::new(BLOCKS.len(), SHAPE.kv_heads, SHAPE.head_dim, KvType::F16);
        let out = vec![0f32; (TOKENS * ROWS.max(COLS)).max(POSITIONS * 256)];
        Bench { pool, matrix, input: Activations::new(), x: values(POSITIONS * 256), out, kv }
    }

    fn quantize(&mut self, tokens: usize) {
        self.input.set(&self.pool, &self.x[..tokens * COLS], COLS, &[&self.matrix]);
    }

    fn product(&mut self) {
        let out = &mut self.out[..self.input.tokens() * ROWS];
        let part =
            Linear { matrix: &self.matrix, bias: None, updates: &[], write: Write::Set, out };
        linear(&self.pool, &self.input, &mut [part]);
    }

    fn store(&mut self) {
        let row = SHAPE.kv_heads * SHAPE.head_dim;
        let (keys, values) = (&self.x[..POSITIONS * row], &self.x[..POSITIONS * row]);
        self.kv.store(&self.pool, keys, values, &[span(POSITIONS, 0)]);
    }

    fn attention(&mut self, rows: usize, position: usize) {
        let elements = rows * SHAPE.heads * SHAPE.head_dim;
        let (query, out) = (&self.x[..elements], &mut self.out[..elements]);
        attention(&self.pool, &SHAPE, query, None, &self.kv, &[span(rows, position)], out);
    }
}

/// A function with a name that the profile shows, and its call.
macro_rules! counted {
    ($name:ident, $bench:expr, $body:expr) => {{
        #[inline(never)]
        fn $name(bench: &mut Bench) {
            // Without a difference the compiler makes one function of all that do the same.
            black_box(stringify!($name));
            let body: fn(&mut Bench) = $body;
            body(bench);
        }
        $name($bench);
        black_box(&$bench.out);
    }};
}

/// The products of one type: the input of a prefill, its product, and that of a decode.
macro_rules! counted_products {
    ($dtype:ident, $quantize:ident, $prefill:ident, $decode:ident) => {{
        let mut bench = Bench::new(DType::$dtype);
        // What is chosen or allocated once is none of the kernel's work.
        bench.quantize(TOKENS);
        counted!($quantize, &mut bench, |bench| bench.quantize(TOKENS));
        counted!($prefill, &mut bench, Bench::product);
        bench.quantize(1);
        counted!($decode, &mut bench, Bench::product);
    }};
}

fn run_all() {
    counted_products!(Q4_0, counted_q4_0_quantize, counted_q4_0_prefill, counted_q4_0_decode);
    counted_products!(Q4_K, counted_q4_k_quantize, counted_q4_k_prefill, counted_q4_k_decode);
    counted_products!(Q5_K, counted_q5_k_quantize, counted_q5_k_prefill, counted_q5_k_decode);
    counted_products!(Q6_K, counted_q6_k_quantize, counted_q6_k_prefill, counted_q6_k_decode);
    counted_products!(Q8_0, counted_q8_0_quantize, counted_q8_0_prefill, counted_q8_0_decode);
    counted_products!(
        IQ4_XS,
        counted_iq4_xs_quantize,
        counted_iq4_xs_prefill,
        counted_iq4_xs_decode
    );
    counted_products!(F16, counted_f16_quantize, counted_f16_prefill, counted_f16_decode);
    counted_products!(F32, counted_f32_quantize, counted_f32_prefill, counted_f32_decode);
    let mut bench = Bench::new(DType::F32);
    counted!(counted_kv_store, &mut bench, Bench::store);
    counted!(counted_attention_prefill, &mut bench, |bench| bench.attention(24, 300));
    counted!(counted_attention_decode, &mut bench, |bench| bench.attention(1, POSITIONS - 1));
    counted!(counted_rms_norm, &mut bench, |bench| {
        let elements = TOKENS * COLS;
        let (x, weight) = (&bench.x[..elements], &bench.x[..COLS]);
        rms_norm(&bench.pool, x, weight, 1e-6, &mut bench.out[..elements]);
    });
}

/// By instruction set and kernel.
type Counts = BTreeMap<(String, String), u64>;

#[test]
fn kernels_execute_no_more_instructions_than_the_table_says() {
    if let Ok(isa) = std::env::var(COUNTED) {
        assert_eq!(Isa::best().name(), isa, "valgrind knows the instruction set");
        return run_all();
    }
    if cfg!(debug_assertions) {
        return skip("instruction counts (of optimised code only: `cargo xtask instructions`)");
    }
    let Some(compiler) = compiler() else { return skip("`rustc --version` does not run") };
    if !Command::new("valgrind").arg("--version").output().is_ok_and(|out| out.status.success()) {
        return skip("instruction counts (no valgrind; `apt-get install valgrind`)");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions.txt");
    let bless = std::env::var_os(BLESS).is_some();
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    if !bless && text.lines().next() != Some(&heading(&compiler)) {
        return skip(&format!(
            "instruction counts (the table is of another compiler than {compiler}; \
             `cargo xtask instructions --bless` on a tree that is known to be good counts anew)"
        ));
    }
    let isas = [Isa::Scalar, Isa::Avx2].into_iter().filter(|isa| isa.available()).map(Isa::name);
    let isas: Vec<&str> = isas.collect();
    let counted = isas.iter().map(|isa| count(isa).unwrap_or_else(|why| panic!("{isa}: {why}")));
    let found: Counts = counted.flatten().collect();
    if bless {
        std::fs::write(&path, write_table(&compiler, &found)).expect("the table can be written");
        return;
    }
    let mut table = read_table(&text);
    table.retain(|(isa, _), _| isas.contains(&isa.as_str()));
    let (grown, shrunk) = compare(&table, &found);
    if !shrunk.is_empty() {
        say(&format!(
            "note: fewer instructions; `cargo xtask instructions --bless` keeps it so:\n  {}",
            shrunk.join("\n  ")
        ));
    }
    assert!(
        grown.is_empty(),
        "more instructions than in {}; where it is meant, `cargo xtask instructions --bless`:\n  {}",
        path.display(),
        grown.join("\n  ")
    );
}

/// On standard error itself, past what catches the output of tests.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn skip(why: &str) {
    say(&format!("skipped: {why}"));
}

/// As `rustc --version` names it.
fn compiler() -> Option<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = Command::new(rustc).arg("--version").output().ok()?;
    Some(String::from_utf8(out.stdout).ok()?.trim().to_owned())
}

/// Runs this program below valgrind and reads the counts of its counted functions.
fn count(isa: &str) -> Result<Counts, String> {
    let profile = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("instructions-{isa}-{}.txt", std::process::id()));
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args(["--exact", "kernels_execute_no_more_instructions_than_the_table_says"])
        .envs([(COUNTED, isa), ("FREEHOLD_ISA", isa)])
        .output()
        .map_err(|error| error.to_string())?;
    if !out.status.success() {
        return Err(format!("valgrind failed: {}", String::from_utf8_lossy(&out.stderr)));
    }
    let text = std::fs::read_to_string(&profile).map_err(|error| error.to_string())?;
    std::fs::remove_file(&profile).map_err(|error| error.to_string())?;
    let counts = inclusive(&text);
    if counts.is_empty() {
        return Err("the profile names no counted function".to_owned());
    }
    Ok(counts.into_iter().map(|(name, count)| ((isa.to_owned(), name), count)).collect())
}

/// The instructions of each counted function with all that it calls, from a profile in
/// callgrind's format: below `fn=` stand its own costs, and after each `calls=` what the
/// callee cost; the last number of a line is the cost.
fn inclusive(profile: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            current = kernel_of(name);
        } else if line.is_empty() || line.starts_with("totals:") {
            current = None;
        } else if let Some(name) = &current
            && line.starts_with(|c: char| c.is_ascii_digit())
            && let Some(cost) =
                line.split(' ').next_back().and_then(|cost| cost.parse::<u64>().ok())
        {
            *counts.entry(name.clone()).or_insert(0u64) += cost;
        }
    }
    counts
}

/// `q4_0_decode` of `…::counted_q4_0_decode`.
fn kernel_of(function: &str) -> Option<String> {
    let (_, name) = function.rsplit_once("counted_")?;
    let name = name.split("::").next().unwrap_or(name);
    Some(name.split('\'').next().unwrap_or(name).to_owned())
}

fn heading(compiler: &str) -> String {
    format!("# {compiler}")
}

fn write_table(compiler: &str, counts: &Counts) -> String {
    let mut text = heading(compiler) + "\n# instruction set, kernel, instructions executed\n";
    for ((isa, kernel), count) in counts {
        let _ = writeln!(text, "{isa} {kernel} {count}");
    }
    text
}

fn read_table(text: &str) -> Counts {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let (isa, kernel) = (words.next()?, words.next()?);
        Some(((isa, kernel), words.next()?.parse().ok()?))
    };
    rows.map(|line| row(line).unwrap_or_else(|| panic!("the table has the line `{line}`")))
        .collect()
}

/// What grew, or is in only one of both, and what shrank.
fn compare(table: &Counts, found: &Counts) -> (Vec<String>, Vec<String>) {
    let (mut grown, mut shrunk) = (Vec::new(), Vec::new());
    for ((isa, kernel), &count) in found {
        let Some(&before) = table.get(&(isa.clone(), kernel.clone())) else {
            grown.push(format!("{isa} {kernel}: {count}, not in the table"));
            continue;
        };
        let change = count as f64 / before as f64 - 1.0;
        let line = format!("{isa} {kernel}: {before} to {count} ({:+.1} %)", change * 100.0);
        if change > TOLERANCE {
            grown.push(line);
        } else if change < -TOLERANCE {
            shrunk.push(line);
        }
    }
    let gone = table.keys().filter(|key| !found.contains_key(key));
    grown.extend(gone.map(|(isa, kernel)| format!("{isa} {kernel}: not counted any more")));
    (grown, shrunk)
}

#[test]
fn a_profile_is_summed_with_its_callees() {
    let profile = "events: Ir\n\nfl=a.rs\nfn=t::run::counted_q4_0_decode\n10 5\n11 1\ncfi=b.rs\n\
                   cfn=kernels::linear\ncalls=1 7\n11 1000\n12 2\n\nfn=kernels::linear\n7 1000\n\n\
                   fn=t::run::counted_norm'2\n3 4\n\ntotals: 2012\n";
    let found: Vec<(String, u64)> = inclusive(profile).into_iter().collect();
    assert_eq!(found, [("norm".to_owned(), 4), ("q4_0_decode".to_owned(), 1008)]);
}

#[test]
fn growth_is_told_from_noise() {
    let key = |kernel: &str| ("avx2".to_owned(), kernel.to_owned());
    let table: Counts = ["a", "b", "c", "gone"].map(|k| (key(k), 1000)).into();
    let found: Counts = [("a", 1019), ("b", 1021), ("c", 900), ("new", 1)]
        .map(|(kernel, count)| (key(kernel), count))
        .into();
    assert_eq!(read_table(&write_table("rustc 1", &table)), table);
    let (grown, shrunk) = compare(&table, &found);
    assert_eq!(shrunk, ["avx2 c: 1000 to 900 (-10.0 %)"]);
    assert_eq!(grown.len(), 3, "{grown:?}");
    assert!(grown[0].starts_with("avx2 b: 1000 to 1021 (+2.1 %)"));
}
