//! What everybody links: its licenses and where it comes from, as `deny.toml` allows.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};

/// Where packages may come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What cargo knows of all packages of the workspace. Without the network if it has them all.
fn metadata() -> Value {
    for network in [&["--offline"][..], &[]] {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(network)
            .current_dir(root())
            .output()
            .unwrap();
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).unwrap();
        }
    }
    panic!("cargo metadata failed with and without the network");
}

/// The licenses that `deny.toml` allows.
fn allowed() -> Vec<LicenseReq> {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let deny: toml::Table = text.parse().unwrap();
    let names = deny["licenses"]["allow"].as_array().unwrap();
    let requirement = |name: &toml::Value| {
        let expression = Expression::parse(name.as_str().unwrap()).unwrap();
        let requirement = expression.requirements().next().unwrap();
        requirement.req.clone()
    };
    names.iter().map(requirement).collect()
}

/// Why a package must not be linked, if so.
fn objection(package: &Value, allowed: &[LicenseReq]) -> Option<String> {
    let source = package["source"].as_str()?;
    if source != REGISTRY {
        return Some(format!("comes from {source}"));
    }
    let Some(license) = package["license"].as_str() else {
        return Some("names no license".to_owned());
    };
    let Ok(expression) = Expression::parse_mode(license, ParseMode::LAX) else {
        return Some(format!("has a license that cannot be read: {license}"));
    };
    let is_fine = expression.evaluate(|requirement| allowed.contains(requirement));
    (!is_fine).then(|| format!("is under {license}, which deny.toml does not allow"))
}

#[test]
fn every_dependency_is_under_an_allowed_license_and_from_the_registry() {
    let (metadata, allowed) = (metadata(), allowed());
    let packages = metadata["packages"].as_array().unwrap();
    let strange: Vec<String> = packages
        .iter()
        .filter_map(|package| {
            Some(format!(
                "{} {}",
                package["name"],
                objection(package, &allowed)?
            ))
        })
        .collect();
    assert!(packages.len() > 100);
    assert!(strange.is_empty(), "{strange:#?}");
}

#[test]
fn what_is_not_allowed_is_noticed() {
    let allowed = allowed();
    let package = |source: &str, license: &str| {
        objection(
            &serde_json::json!({"source": source, "license": license}),
            &allowed,
        )
    };
    assert_eq!(package(REGISTRY, "MIT/Apache-2.0"), None);
    assert_eq!(package(REGISTRY, "GPL-3.0-only OR MIT"), None);
    assert!(package(REGISTRY, "GPL-3.0-only").is_some());
    assert!(package(REGISTRY, "MIT AND GPL-3.0-only").is_some());
    assert!(package("git+https://example.com/x", "MIT").is_some());
}
