//! The hash below every signature is HMAC-SHA256.

use std::{collections::HashMap, fs};

use atp_core::{Scheme, Secret, Verifier};
use serde_json::Value;

use crate::support::cases;

/// The digest in lower-case hexadecimal, by way of the public signer.
fn hmac(key: &str, message: &str) -> String {
    let secret = Secret::of_any_bytes_for_tests(&bytes(key));
    Verifier::new(secret).sign(Scheme::Raw, &bytes(message)).unwrap().to_string()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

#[test]
fn wycheproof_vectors() {
    let text = fs::read_to_string(cases::path("external/wycheproof/hmac_sha256_test.json")).unwrap();
    let suite: Value = serde_json::from_str(&text).unwrap();
    let mut count = 0;
    for group in suite["testGroups"].as_array().unwrap() {
        let digits = usize::try_from(group["tagSize"].as_u64().unwrap()).unwrap() / 4;
        for test in group["tests"].as_array().unwrap() {
            let text = |member: &str| test[member].as_str().unwrap();
            // Some tags are cut to 128 bits: their first half is compared.
            let equal = hmac(text("key"), text("msg"))[..digits] == *text("tag");
            assert_eq!(equal, text("result") == "valid", "tcId {}", test["tcId"]);
            count += 1;
        }
    }
    println!("Wycheproof HMAC-SHA256: {count} vectors");
    assert_eq!(count, 174);
}

#[test]
fn rfc_4231_vectors() {
    let text = fs::read_to_string(cases::path("external/rfc4231/rfc-4231-sha256.txt")).unwrap();
    let (mut count, mut vector) = (0, HashMap::new());
    for (name, value) in text.lines().filter_map(|line| line.split_once(" = ")) {
        vector.insert(name, value);
        if name == "MD" {
            count += 1;
            assert_eq!(hmac(vector["Key"], vector["Msg"]), value, "vector {count}");
        }
    }
    println!("RFC 4231: {count} vectors");
    assert_eq!(count, 6);
}
