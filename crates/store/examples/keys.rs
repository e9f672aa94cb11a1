//! What a look for a key takes: `cargo run --release -p store --example keys`.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use store::{Keyring, NewKey, Store};

const KEYS: usize = 1_000;
const LOOKS: u32 = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(&folder.path().join("store.sqlite"))?;
    let key = |n: usize| store.create_key(NewKey { name: n.to_string(), ..NewKey::default() });
    let keys = (0..KEYS).map(|n| Ok(key(n)?.1)).collect::<Result<Vec<String>, Box<dyn Error>>>()?;
    let begun = Instant::now();
    for key in keys.iter().cycle().take(LOOKS as usize) {
        store.find_key(key.as_bytes())?.ok_or("a key is lost")?;
    }
    println!("a key among {KEYS}: {:?}", begun.elapsed() / LOOKS);
    let store = Arc::new(store);
    let ring = Keyring::start(Arc::clone(&store))?;
    let begun = Instant::now();
    for key in keys.iter().cycle().take(LOOKS as usize) {
        ring.find(key.as_bytes())?.ok_or("a key is lost")?;
    }
    println!("the same from memory: {:?}", begun.elapsed() / LOOKS);
    let begun = Instant::now();
    for _ in 0..LOOKS {
        store.has_keys()?;
    }
    println!("whether there are any: {:?}", begun.elapsed() / LOOKS);
    Ok(())
}
