//! Compiles every `src/probes/*/*.bpf.c` and `src/*/*.bpf.c` to a BPF object that the probe embeds with `crate::bpf_object!("name")`.
//!
//! An object lands in `OUT_DIR/<name>.bpf.o`. No skeletons: which program of a hook is used is decided at load, by name
//! (see `kernel::load`). Sources that keep records at sockets are compiled once more for older kernels, as
//! `<name>.by_address.bpf.o` (see `bpf/records.h`).

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
        let include = format!("-I{}", folder.display());
        let compile = |object: String, variant: Option<&str>| {
            let fixed = ["-mcpu=v3", "-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-Ibpf"];
            SkeletonBuilder::new()
                .source(&source)
                .obj(out.join(object))
                .clang(env::var_os("CLANG").unwrap_or_else(|| "clang".into()))
                .clang_args(fixed.into_iter().chain([include.as_str()]).chain(variant))
                .build()
                .unwrap_or_else(|error| panic!("{error:?}"));
        };
        compile(name.replace(".bpf.c", ".bpf.o"), None);
        let text = fs::read_to_string(&source).expect("the source is readable");
        if text.contains("#include \"records.h\"") {
            compile(name.replace(".bpf.c", ".by_address.bpf.o"), Some("-DBY_ADDRESS"));
        }
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
