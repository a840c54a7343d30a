//! greet counts how often it has greeted, in state, and tells it by an event.
//!
//!     cargo build --release --target wasm32-unknown-unknown --example greet

use weft::{Code, Context, Error, Level};

weft::handler!("greet", greet);

fn greet(ctx: &mut Context) -> weft::Result {
    let name = String::from_utf8_lossy(ctx.input()).trim().to_string();
    if name.is_empty() {
        return Err(Error::new(Code::InvalidArgument, "the input is empty: send a name"));
    }
    let key = format!("greeted/{name}");
    let before = ctx.get(&key)?.and_then(|v| String::from_utf8(v).ok()).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
    ctx.set(&key, (before + 1).to_string().as_bytes())?;
    ctx.publish("greeted", format!("{{\"times\":{}}}", before + 1).as_bytes())?;
    ctx.log(Level::Info, &format!("greeted {name}"));
    Ok(format!("hello {name}, for the {}. time", before + 1).into_bytes())
}
