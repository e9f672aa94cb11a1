//! `freehold serve`: the APIs over HTTP, from one model in this process.

use crate::cli::Serve;
use crate::commands::pull::Bars;
use crate::locate::Locator;
use crate::output::say;
use crate::packed::PackedUse;
use crate::remote_pull::RemotePull;
use crate::wiring::{self, Names, Room};
use anyhow::{Context as _, Result};
use gateway::Config;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

pub(crate) fn run(args: &Serve, locator: &Locator) -> Result<()> {
    let found = locator.find_or_pull(&args.model, &Bars::new())?;
    let config =
        Config { address: address(args)?, allow_open: args.allow_open, ..Config::default() };
    // Before the model is loaded, so that a port in use is known at once.
    let bound = gateway::bind(config)?;
    let address = bound.address();
    let names = Names::of_found(&args.model, &found, args.alias.as_deref());
    let id = names.id.clone();
    let room = Room { parallel: usize::from(args.parallel.max(1)), queue: usize::from(args.queue) };
    let packed = PackedUse::new(locator, found.model, args.compute.packed);
    let local = wiring::start(
        &found,
        names,
        &args.compute,
        &args.sparing,
        packed,
        room,
        locator.licence(found.model),
    )?;
    say(format_args!("{id} is ready on http://{address}/v1 (Ctrl-C stops it)"));
    let bound = bound.with_pull(Arc::new(RemotePull(locator.hub().clone())));
    bound.serve_until_signal(Arc::new(local))?;
    Ok(())
}

fn address(args: &Serve) -> Result<SocketAddr> {
    let at = || format!("--host {} --port {} is no address to listen on", args.host, args.port);
    let mut addresses = (args.host.as_str(), args.port).to_socket_addrs().with_context(at)?;
    addresses.next().with_context(at)
}
