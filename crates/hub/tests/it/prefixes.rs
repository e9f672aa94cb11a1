//! Folders of prefixes: one process at a time, its owner alone, and gone with their model.

use hub::{Home, HubError};

use crate::world::World;

#[test]
fn a_folder_is_one_process_s_and_private() {
    let world = World::new("http://127.0.0.1:1");
    let home = Home::new(world.home());
    let source = world.folder.path().join("a.gguf");
    std::fs::write(&source, "a model").expect("written");
    assert_eq!(home.remove_prefixes(&source).expect("nothing is no error"), 0);
    assert!(!world.home().join("locks").exists(), "nothing was there to be locked");
    let folder = home.take_prefixes(&source).expect("a home").expect("free");
    assert!(home.take_prefixes(&source).expect("a home").is_none(), "it is taken");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(folder.path()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
    std::fs::write(folder.path().join("x.block"), "12345").expect("written");
    assert!(matches!(home.remove_prefixes(&source), Err(HubError::InUse { .. })));
    assert!(matches!(home.remove_all_prefixes(), Err(HubError::InUse { .. })));
    drop(folder);
    assert_eq!(home.remove_all_prefixes().expect("free"), 5);
    let folder = home.take_prefixes(&source).expect("a home").expect("free");
    std::fs::write(folder.path().join("x.block"), "123").expect("written");
    drop(folder);
    assert_eq!(home.remove_prefixes(&source).expect("free"), 3);
}
