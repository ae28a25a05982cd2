//! Compiled code that is found again, and compiled code that rotted.

use std::fs;
use std::path::Path;

use super::*;

fn engine_with(cache: &Path) -> Engine {
    Engine::new(&EngineSettings {
        cache_dir: Some(cache.to_owned()),
        ..settings()
    })
    .unwrap()
}

/// Loads in an engine of its own, as a process would; says whether the code was found.
fn found(fixture: &Fixture, cache: &Path) -> bool {
    let engine = engine_with(cache);
    let module = fixture.load_in(&engine).unwrap();
    assert!(process(&mut module.instantiate(None).unwrap(), &samples(5)).is_ok());
    engine.cache().unwrap().hits() > 0
}

/// The one file of machine code in the cache.
fn entry(cache: &Path) -> PathBuf {
    let compilers = fs::read_dir(cache.join("compiled/code/modules")).unwrap();
    let compiler = compiler_folder(compilers);
    let entries = fs::read_dir(compiler).unwrap().map(|entry| entry.unwrap().path());
    let code: Vec<_> = entries.filter(|entry| entry.extension().is_none()).collect();
    assert_eq!(code.len(), 1, "{code:?}");
    code[0].clone()
}

fn compiler_folder(mut compilers: fs::ReadDir) -> PathBuf {
    compilers.next().unwrap().unwrap().path()
}

#[test]
fn a_second_process_does_not_compile_again() {
    let fixture = Fixture::new(IDENTITY);
    let cache = fixture.folder.path().join("cache");
    assert!(!found(&fixture, &cache));
    assert!(found(&fixture, &cache));
    assert!(found(&fixture, &cache));
}

#[test]
fn trusted_code_is_not_taken_for_checked_code() {
    let mut fixture = Fixture::new(IDENTITY);
    let cache = fixture.folder.path().join("cache");
    assert!(!found(&fixture, &cache));
    fixture.stage.limits.batch_deadline = None;
    assert!(!found(&fixture, &cache));
}

#[test]
fn a_damaged_entry_is_compiled_anew() {
    let fixture = Fixture::new(IDENTITY);
    let cache = fixture.folder.path().join("cache");
    assert!(!found(&fixture, &cache));
    let cut: &dyn Fn(&mut Vec<u8>) = &|code| code.truncate(code.len() / 2);
    let zeroed: &dyn Fn(&mut Vec<u8>) = &|code| code.fill(0);
    for damage in [cut, zeroed] {
        spoil(&cache, damage);
        assert!(!found(&fixture, &cache), "damaged code was used");
        assert!(found(&fixture, &cache), "the entry was not written again");
    }
}

#[test]
fn no_flipped_bit_gets_through() {
    let fixture = Fixture::new(IDENTITY);
    let cache = fixture.folder.path().join("cache");
    assert!(!found(&fixture, &cache));
    // Decompressing finds most of them; those in the code itself only the digest finds.
    for step in 1..20 {
        spoil(&cache, &|code| {
            let place = code.len() * step / 20;
            code[place] ^= 1;
        });
        assert!(!found(&fixture, &cache), "code with a flipped bit was used");
    }
}

fn spoil(cache: &Path, damage: &dyn Fn(&mut Vec<u8>)) {
    let path = entry(cache);
    let mut code = fs::read(&path).unwrap();
    damage(&mut code);
    fs::write(&path, code).unwrap();
}

#[test]
fn code_that_nobody_vouches_for_is_not_run() {
    let fixture = Fixture::new(IDENTITY);
    let cache = fixture.folder.path().join("cache");
    assert!(!found(&fixture, &cache));
    fs::remove_dir_all(cache.join("compiled/sums")).unwrap();
    assert!(!found(&fixture, &cache));
}

#[test]
fn an_entry_that_a_killed_process_left_half_written_blocks_nobody() {
    let fixture = Fixture::new(IDENTITY);
    let first = fixture.folder.path().join("first");
    assert!(!found(&fixture, &first));
    let half = entry(&first).with_extension("wip-atomic-write-mod");

    let cache = fixture.folder.path().join("cache");
    let half = cache.join(half.strip_prefix(&first).unwrap());
    drop(engine_with(&cache));
    fs::create_dir_all(half.parent().unwrap()).unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_hours(1);
    fs::File::create(&half).unwrap().set_modified(long_ago).unwrap();
    assert!(!found(&fixture, &cache));
    assert!(found(&fixture, &cache), "the entry was not written");
}

#[test]
fn a_folder_that_cannot_be_used_only_costs_the_cache() {
    let fixture = Fixture::new(IDENTITY);
    let file = fixture.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let engine = engine_with(&file);
    assert!(engine.cache().is_none());
    assert!(fixture.load_in(&engine).is_ok());
}

#[test]
fn a_folder_that_others_can_write_is_not_trusted() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new(IDENTITY);
    let cache = fixture.folder.path().join("cache");
    assert!(!found(&fixture, &cache));
    fs::set_permissions(cache.join("compiled/code"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(engine_with(&cache).cache().is_none());
}
