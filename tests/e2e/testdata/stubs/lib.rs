#[path = "echo.weft.rs"]
mod proto;

use proto::*;
use weft::{wire, Code, Context, Error, Result};

serve_echo_service!(Echo);

struct Echo;

impl EchoService for Echo {
    fn plain(_: &Context, it: Plain) -> Result<Plain> {
        Ok(it)
    }

    fn lists(_: &Context, it: Lists) -> Result<Lists> {
        Ok(it)
    }

    fn maps(_: &Context, it: Maps) -> Result<Maps> {
        Ok(it)
    }

    fn known(_: &Context, it: Known) -> Result<Known> {
        Ok(it)
    }

    fn mixed(_: &Context, it: Mixed) -> Result<Mixed> {
        Ok(it)
    }

    fn count(_: &Context, it: wire::Messages<Plain>) -> Result<Plain> {
        let mut out = Plain::default();
        for m in it {
            m?;
            out.an_int32 += 1;
        }
        Ok(out)
    }

    fn repeat(_: &Context, it: Plain, to: wire::Sender<Plain>) -> Result<()> {
        for an_int32 in 0..it.an_int32 {
            to.send(&Plain { an_int32, ..Default::default() })?;
        }
        Ok(())
    }

    fn talk(ctx: &Context, it: wire::Messages<Plain>, to: wire::Sender<Plain>) -> Result<()> {
        for m in it {
            let m = m?;
            if m.a_string == "stop" {
                ctx.add_message(&m);
                return Err(Error::new(Code::Aborted, "stopped"));
            }
            to.send(&m)?;
        }
        Ok(())
    }
}
