//! Offline analysis on files without the rest of the program: `detect --input A --output B`, `rca --case DIR --output B`.

use std::path::Path;
use std::process::ExitCode;

use gala_analysis::cause::rca_case;
use gala_analysis::detect::detect_file;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    let input = option("--input").or_else(|| option("--case"));
    let result = match (args.first().map(String::as_str), input, option("--output")) {
        (Some("detect"), Some(input), Some(output)) => {
            detect_file(Path::new(input), Path::new(output)).map(|_| ()).map_err(|error| error.to_string())
        }
        (Some("rca"), Some(case), Some(output)) => {
            rca_case(Path::new(case), Path::new(output)).map(|_| ()).map_err(|error| error.to_string())
        }
        _ => Err("usage: gala_offline detect --input FILE --output FILE, or rca --case DIR --output FILE".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}
