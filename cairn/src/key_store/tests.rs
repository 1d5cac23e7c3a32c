//! Key files on a real disk.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn passphrase(text: &str) -> Passphrase {
    Passphrase(Zeroizing::new(text.as_bytes().to_vec()))
}

#[test]
fn a_vault_made_once_is_found_again_with_the_same_keys() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = KeyStore::open(dir.path(), None).unwrap();
    let made = store.create("main").unwrap().clone();
    let store = KeyStore::open(dir.path(), None).unwrap();
    let found = store.choose(None).unwrap();
    assert_eq!((found.vault, &found.name), (made.vault, &made.name));
    assert_eq!(found.encode().as_slice(), made.encode().as_slice());
    let path = dir.path().join(format!("{}.key", made.vault));
    assert_eq!(
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn vaults_of_one_directory_share_its_log_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = KeyStore::open(dir.path(), None).unwrap();
    store.create("one").unwrap();
    store.create("two").unwrap();
    let [a, b] = store.keyfiles() else { panic!() };
    assert_eq!(a.activity_seed.expose(), b.activity_seed.expose());
    assert_ne!(a.root.expose(), b.root.expose());
    assert_ne!(a.wallet_seed.expose(), b.wallet_seed.expose());
    assert!(matches!(
        store.choose(None),
        Err(KeyStoreError::WhichVault { count: 2 })
    ));
    assert_eq!(store.choose(Some("two")).unwrap().name, "two");
    let id = a.vault.to_string();
    assert_eq!(store.choose(Some(&id)).unwrap().vault.to_string(), id);
    assert!(matches!(
        store.choose(Some("three")),
        Err(KeyStoreError::NoSuchVault { .. })
    ));
}

#[test]
fn names_that_would_confuse_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = KeyStore::open(dir.path(), None).unwrap();
    for name in ["", "v-0123", "a b", "../x", ".hidden", &"x".repeat(65)] {
        assert!(
            matches!(store.create(name), Err(KeyStoreError::BadName)),
            "{name:?}"
        );
    }
    store.create("main").unwrap();
    assert!(matches!(
        store.create("main"),
        Err(KeyStoreError::NameTaken { .. })
    ));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_passphrase_seals_plain_files_when_they_are_next_opened() {
    let dir = tempfile::tempdir().unwrap();
    let vault = KeyStore::open(dir.path(), None)
        .unwrap()
        .create("main")
        .unwrap()
        .vault;
    KeyStore::open(dir.path(), Some(passphrase("open sesame"))).unwrap();
    let path = dir.path().join(format!("{vault}.key"));
    assert!(Keyfile::is_sealed(&std::fs::read(path).unwrap()).unwrap());
    let message = KeyStore::open(dir.path(), None).unwrap_err().to_string();
    assert!(message.contains("--passphrase-file"), "{message}");
    assert!(KeyStore::open(dir.path(), Some(passphrase("wrong"))).is_err());
    let store = KeyStore::open(dir.path(), Some(passphrase("open sesame"))).unwrap();
    assert_eq!(store.choose(None).unwrap().vault, vault);
}

#[test]
fn an_exported_key_opens_the_vault_elsewhere_but_signs_only_where_its_log_is() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut source = KeyStore::open(here.path(), None).unwrap();
    let original = source.create("main").unwrap().clone();
    let secret = passphrase("p");
    let bytes = KeyStore::export(&original, Some(&secret)).unwrap();
    assert!(Keyfile::is_sealed(&bytes).unwrap());
    let opened = open_keyfile(Path::new("export"), &bytes, Some(&secret)).unwrap();
    let mut target = KeyStore::open(there.path(), None).unwrap();
    target.create("main").unwrap();
    let taken = target.import(opened.clone(), None, false);
    assert!(matches!(taken, Err(KeyStoreError::NameTaken { .. })));
    let imported = target
        .import(opened.clone(), Some("second".to_owned()), true)
        .unwrap();
    assert_eq!(imported.root.expose(), original.root.expose());
    assert_ne!(imported.activity_seed.expose(), original.activity_seed.expose());
    KeyStore::open(there.path(), None).unwrap();
    for restores in [false, true] {
        let empty = tempfile::tempdir().unwrap();
        let mut target = KeyStore::open(empty.path(), None).unwrap();
        let imported = target.import(opened.clone(), None, restores).unwrap();
        let same = imported.activity_seed.expose() == original.activity_seed.expose();
        assert_eq!(same, restores);
    }
}

#[test]
fn copied_in_key_files_of_another_log_are_refused() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    KeyStore::open(here.path(), None).unwrap().create("a").unwrap();
    let vault = KeyStore::open(there.path(), None)
        .unwrap()
        .create("b")
        .unwrap()
        .vault;
    let name = format!("{vault}.key");
    std::fs::copy(there.path().join(&name), here.path().join(&name)).unwrap();
    assert!(matches!(
        KeyStore::open(here.path(), None),
        Err(KeyStoreError::MixedLogs { .. })
    ));
}

#[test]
fn the_passphrase_is_the_first_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    std::fs::write(&path, "open sesame\r\nnote").unwrap();
    assert_eq!(Passphrase::read(&path).unwrap().0.as_slice(), b"open sesame");
    assert_eq!(
        format!("{:?}", Passphrase::read(&path).unwrap()),
        "Passphrase(..)"
    );
    std::fs::write(&path, "\n").unwrap();
    assert!(matches!(
        Passphrase::read(&path),
        Err(KeyStoreError::EmptyPassphrase { .. })
    ));
}
