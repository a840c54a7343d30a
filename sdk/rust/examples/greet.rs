//! greet counts how often it has greeted, in state, and tells it by an event.
//!
//!     cargo build --release --target wasm32-unknown-unknown --example greet

use weft::{Code, Context, Error, Level};

weft::record! {
    struct Question { name: String }
    struct Greeting { greeting: String, times: u64 }
}

weft::json_handler!("greet", greet);

fn greet(ctx: &mut Context, it: Question) -> weft::Result<Greeting> {
    if it.name.is_empty() {
        return Err(Error::new(Code::InvalidArgument, "name is missing"));
    }
    let key = format!("greeted/{}", it.name);
    let answer = Greeting { times: ctx.get_json::<u64>(&key)?.unwrap_or(0) + 1, greeting: format!("hello {}", it.name) };
    ctx.set_json(&key, &answer.times)?;
    ctx.publish_json("greeted", &answer)?;
    ctx.log(Level::Info, &format!("greeted {}", it.name));
    Ok(answer)
}
