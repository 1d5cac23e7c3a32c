//! Precedence, and each refusal.

use std::collections::HashMap;

use super::*;

fn gather(args: &UpArgs, env: &[(&str, &str)]) -> Result<UpConfig, ConfigError> {
    let env: HashMap<String, String> = env
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    UpConfig::gather(args, &|name| env.get(name).cloned())
}

fn with_file(text: &str) -> (tempfile::TempDir, UpArgs) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cairn.toml");
    std::fs::write(&path, text).unwrap();
    (
        dir,
        UpArgs {
            front: crate::cli::FrontArgs {
                config: Some(path),
                ..Default::default()
            },
            ..UpArgs::default()
        },
    )
}

#[test]
fn without_any_source_the_defaults_hold() {
    let config = gather(&UpArgs::default(), &[]).unwrap();
    assert_eq!(config.s3.to_string(), "127.0.0.1:9000");
    assert_eq!(config.admin.to_string(), "127.0.0.1:9001");
    assert_eq!(config.region, "us-east-1");
    assert!(config.drives.is_none() && config.code.is_none() && config.tls.is_none());
}

#[test]
fn a_flag_beats_the_environment_and_that_beats_the_file() {
    let (_dir, mut args) = with_file("region = \"from-file\"\ns3 = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"");
    args.front.region = Some("from-flag".to_owned());
    let env = [("CAIRN_REGION", "from-env"), ("CAIRN_S3", "127.0.0.1:3")];
    let config = gather(&args, &env).unwrap();
    assert_eq!(config.region, "from-flag");
    assert_eq!(config.s3.port(), 3);
    assert_eq!(config.admin.port(), 2);
}

#[test]
fn lists_are_taken_whole_from_the_first_source() {
    let (_dir, args) =
        with_file("domain = [\"a.example\"]\ndrive = [\"/1\",\"/2\",\"/3\",\"/4\",\"/5\",\"/6\"]");
    let config = gather(&args, &[("CAIRN_DOMAIN", "B.example, c.example")]).unwrap();
    assert_eq!(config.domains, ["b.example", "c.example"]);
    assert_eq!(config.drives.unwrap().len(), 6);
}

#[test]
fn an_unknown_name_in_the_file_is_refused_with_its_line() {
    let (_dir, args) = with_file("regoin = \"x\"");
    let message = gather(&args, &[]).unwrap_err().to_string();
    assert!(
        message.contains("regoin") && message.contains("line 1"),
        "{message}"
    );
}

#[test]
fn sizes_in_the_file_may_be_numbers_or_text() {
    let (_dir, args) = with_file("quota = 1000\nupload-memory = \"64MiB\"");
    let config = gather(&args, &[]).unwrap();
    assert_eq!(
        (config.quota_bytes, config.upload_memory_bytes),
        (Some(1_000), 64 << 20)
    );
}

#[test]
fn each_wrong_setting_is_named() {
    let cases = [
        ("CAIRN_S3", "localhost", "--s3"),
        ("CAIRN_ADMIN", "9001", "--admin"),
        ("CAIRN_CODE", "4+1", "--code"),
        ("CAIRN_REGION", "EU West", "--region"),
        ("CAIRN_PUBLIC_URL", "s3.example.org", "--public-url"),
        ("CAIRN_PUBLIC_URL", "http://a@b", "--public-url"),
        ("CAIRN_PUBLIC_URL", "http://b/path", "--public-url"),
        ("CAIRN_TRUSTED_PROXY", "proxy", "--trusted-proxy"),
        ("CAIRN_DOMAIN", "s3.example.org:9000", "--domain"),
        ("CAIRN_DOMAIN", "10.0.0.1", "--domain"),
        ("CAIRN_QUOTA", "much", "--quota"),
        ("CAIRN_UPLOAD_MEMORY", "1MiB", "--upload-memory"),
    ];
    for (variable, value, named) in cases {
        let message = gather(&UpArgs::default(), &[(variable, value)])
            .unwrap_err()
            .to_string();
        assert!(message.starts_with(named), "{variable}={value}: {message}");
    }
}

#[test]
fn settings_that_belong_together_are_wanted_together() {
    for env in [
        ("CAIRN_TLS_CERT", "/c"),
        ("CAIRN_TLS_KEY", "/k"),
        ("CAIRN_ACCESS_KEY", "abc"),
    ] {
        assert!(
            matches!(gather(&UpArgs::default(), &[env]), Err(ConfigError::Together(_))),
            "{env:?}"
        );
    }
    let same = [("CAIRN_S3", "127.0.0.1:7"), ("CAIRN_ADMIN", "127.0.0.1:7")];
    assert!(matches!(
        gather(&UpArgs::default(), &same),
        Err(ConfigError::Together(_))
    ));
}

#[test]
fn too_few_or_repeated_drives_are_refused() {
    let few = UpArgs {
        drives: vec!["/a".into(), "/b".into()],
        ..UpArgs::default()
    };
    let message = gather(&few, &[]).unwrap_err().to_string();
    assert!(
        message.contains("2 drives") && message.contains("4+2") && message.contains("at least 6"),
        "{message}"
    );
    let twice = UpArgs {
        drives: vec!["/a".into(); 6],
        ..UpArgs::default()
    };
    assert!(gather(&twice, &[]).unwrap_err().to_string().contains("/a"));
}

#[test]
fn a_root_secret_is_16_to_128_characters_and_never_shown() {
    for (secret, ok) in [(15, false), (16, true), (128, true), (129, false)] {
        let secret = "s".repeat(secret);
        let env = [
            ("CAIRN_ACCESS_KEY", "root"),
            ("CAIRN_SECRET_KEY", secret.as_str()),
        ];
        match gather(&UpArgs::default(), &env) {
            Ok(config) => {
                assert!(ok);
                assert!(!format!("{config:?}").contains("ssss"));
            }
            Err(error) => {
                assert!(!ok);
                assert!(!error.to_string().contains("ssss"));
            }
        }
    }
}
