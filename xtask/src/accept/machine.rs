//! The machine that a record is about: processor, cores, instruction sets, memory.

use std::fs;

/// Flags of `/proc/cpuinfo` that decide which kernels run.
const FLAGS: [&str; 9] = [
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
];

pub(crate) struct Machine {
    /// As the processor names itself, with family and model, since virtual machines shorten the name.
    processor: String,
    cores: usize,
    memory_gib: Option<u64>,
    flags: Vec<&'static str>,
    system: String,
}

impl Machine {
    pub(crate) fn read() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = read("/proc/sys/kernel/osrelease");
        let system =
            format!("{} {} {}", std::env::consts::OS, kernel.trim(), std::env::consts::ARCH);
        Machine::from_texts(&read("/proc/cpuinfo"), &read("/proc/meminfo"), cores, system)
    }

    /// All its memory, where the system tells it.
    pub(super) fn memory_gib(&self) -> Option<u64> {
        self.memory_gib
    }

    fn from_texts(cpuinfo: &str, meminfo: &str, cores: usize, system: String) -> Machine {
        let field = |name: &str| {
            let line = cpuinfo
                .lines()
                .find(|line| line.split(':').next().is_some_and(|k| k.trim() == name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let name = field("model name").unwrap_or_else(|| "unknown processor".to_owned());
        let processor = match (field("cpu family"), field("model")) {
            (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
            _ => name,
        };
        let has: Vec<String> =
            field("flags").unwrap_or_default().split(' ').map(str::to_owned).collect();
        let flags = FLAGS.into_iter().filter(|flag| has.iter().any(|f| f == flag)).collect();
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib: Option<u64> =
            total.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok());
        // What the firmware keeps is missing from the total, so round to the nearest GiB.
        let memory_gib = kib.map(|kib| (kib + (1 << 19)) >> 20);
        Machine { processor, cores, memory_gib, flags, system }
    }

    /// A folder name: letters, digits and single dashes.
    pub(crate) fn slug(&self) -> String {
        let text = format!("{} {} cores", self.processor, self.cores).to_lowercase();
        let words =
            text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("-")
    }

    /// A Markdown list.
    pub(crate) fn markdown(&self) -> String {
        let memory = self.memory_gib.map_or("unknown".to_owned(), |gib| format!("{gib} GiB"));
        let forced = std::env::var("FREEHOLD_ISA")
            .map_or(String::new(), |isa| format!("- `FREEHOLD_ISA={isa}` was set\n"));
        format!(
            "- processor: {}, {} cores\n- instruction sets: {}\n- memory: {memory}\n- system: {}\n{forced}",
            self.processor,
            self.cores,
            self.flags.join(", "),
            self.system
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slug_is_a_plain_folder_name() {
        let cpuinfo =
            "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 fma\n";
        let meminfo = "MemTotal:       24684134 kB\n";
        let machine = Machine::from_texts(cpuinfo, meminfo, 2, "linux".to_owned());
        assert_eq!(machine.slug(), "amd-epyc-family-25-model-17-2-cores");
        assert!(machine.markdown().contains("avx2, fma\n"));
        assert!(machine.markdown().contains("memory: 24 GiB"));
        let unknown = Machine::from_texts("", "", 4, "x".to_owned());
        assert_eq!(unknown.slug(), "unknown-processor-4-cores");
    }
}
