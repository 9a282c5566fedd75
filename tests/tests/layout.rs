//! A file imports only from files above it in ARCHITECTURE.md.

use std::{fs, path::Path};

const LISTS: [(&str, &[&str]); 2] = [
    (
        "atp-core",
        &[
            "secret",
            "json",
            "signature",
            "canonical",
            "scheme",
            "time",
            "decimal",
            "cache",
            "pattern",
            "schema",
            "notification",
            "response",
            "fingerprint",
            "violation",
            "misfit",
            "response_type",
            "validate",
            "verifier",
            "redrive",
            "explain",
            "event",
            "api",
        ],
    ),
    (
        "atp-actix",
        &[
            "limits",
            "store",
            "reply",
            "refusal",
            "error",
            "age",
            "head",
            "delivery",
            "body",
            "report",
            "log",
            "reporter",
            "counters",
            "claim_cell",
            "explain",
            "verify",
            "decide",
            "guard",
            "handler",
            "decisions",
            "extract",
            "transaction",
            "mounted",
            "webhook",
            "test",
        ],
    ),
];

#[test]
fn a_file_imports_only_from_files_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, list) in LISTS {
        let source = root.join(name).join("src");
        for entry in fs::read_dir(&source).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let module = file.trim_end_matches(".rs");
            assert!(module == "lib" || list.contains(&module), "{name}: {file} is not in the list");
        }
        for (place, module) in list.iter().enumerate() {
            let alone = source.join(format!("{module}.rs"));
            let text = fs::read_to_string(&alone).unwrap_or_else(|_| {
                let files = fs::read_dir(source.join(module)).unwrap().map(|file| file.unwrap().path());
                let code = files.filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
                code.map(|file| fs::read_to_string(file).unwrap()).collect()
            });
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            for below in &list[place + 1..] {
                let alone = code.contains(&format!("crate::{below}::"));
                let grouped = code.split("use crate::{").skip(1).any(|rest| {
                    let group = rest.split("};").next().unwrap_or_default();
                    group.lines().any(|line| line.trim_start().starts_with(&format!("{below}::")))
                });
                let imports = alone || grouped;
                assert!(!imports, "{name}: {module} imports from {below}, which stands below it");
            }
        }
    }
}
