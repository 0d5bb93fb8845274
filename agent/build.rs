//! Compiles every `src/probes/*/*.bpf.c` and `src/*/*.bpf.c` to a BPF object that the probe embeds with `crate::bpf_object!("name")`.
//!
//! An object lands in `OUT_DIR/<name>.bpf.o`. No skeletons: which program of a hook is used is decided at load, by name
//! (see `kernel::load`).

use std::path::{Path, PathBuf};
use std::{env, fs};

use libbpf_cargo::SkeletonBuilder;

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-changed=src/probes");
    println!("cargo:rerun-if-changed=src/tasks");
    println!("cargo:rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for source in ["src/probes", "src"].iter().flat_map(|folder| bpf_sources(Path::new(folder))) {
        let name = source.file_name().and_then(|name| name.to_str()).expect("a UTF-8 file name");
        let folder = source.parent().expect("a source lies in its probe's folder");
        let includes = [format!("-I{}", folder.display()), "-Ibpf".to_owned()];
        SkeletonBuilder::new()
            .source(&source)
            .obj(out.join(name.replace(".bpf.c", ".bpf.o")))
            .clang(env::var_os("CLANG").unwrap_or_else(|| "clang".into()))
            .clang_args(
                ["-mcpu=v3", "-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"]
                    .map(str::to_owned)
                    .iter()
                    .chain(&includes),
            )
            .build()
            .unwrap_or_else(|error| panic!("{error:?}"));
    }
}

/// Every BPF source one folder below `root`, in a stable order.
fn bpf_sources(root: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(root).expect("the folder exists").flatten().map(|entry| entry.path());
    let mut sources: Vec<PathBuf> = folders
        .filter(|path| path.is_dir())
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()))
        .filter(|path| path.to_str().is_some_and(|path| path.ends_with(".bpf.c")))
        .collect();
    sources.sort();
    sources
}
