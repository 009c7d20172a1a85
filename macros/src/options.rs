//! What stands in an attribute's brackets: methods of `ringloop::Builder`, by name.

use proc_macro2::{Ident, TokenStream as Tokens};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Error, Expr, LitStr, Result, Token};

/// The options of every attribute.
const COMMON: &[&str] = &["debug", "name", "ring_entries", "thread_pool", "shutdown_timeout"];

/// Options in the order in which they were given: the name of a method and its argument.
pub struct Options(Vec<(Ident, Tokens)>);

impl Options {
    /// Reads `options`; `attribute` is who asks, for the errors, and has the options `more` besides the common ones.
    pub fn parse(attribute: &str, more: &[&str], options: Tokens) -> Result<Options> {
        let read = |input: ParseStream<'_>| {
            let mut all = Options(Vec::new());
            while !input.is_empty() {
                let option = Options::read(attribute, more, input)?;
                if all.0.iter().any(|(name, _)| *name == option.0) {
                    return Err(Error::new(option.0.span(), format!("`{}` is given twice", option.0)));
                }
                all.0.push(option);
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(all)
        };
        read.parse2(options)
    }

    fn read(attribute: &str, more: &[&str], input: ParseStream<'_>) -> Result<(Ident, Tokens)> {
        let word = format!("an option of {attribute} is a word: `debug`, or `name = ..`");
        let name = input.call(Ident::parse_any).map_err(|error| Error::new(error.span(), word))?;
        let mut known = COMMON.iter().chain(more);
        if !known.any(|known| name == known) {
            let known: Vec<&str> = COMMON.iter().chain(more).copied().collect();
            let message = format!("{attribute} has no option `{name}`; there are {}", known.join(", "));
            return Err(Error::new(name.span(), message));
        }
        if !input.peek(Token![=]) {
            return match name == "debug" && (input.is_empty() || input.peek(Token![,])) {
                true => Ok((name, quote!(true))),
                false => Err(Error::new(name.span(), format!("`{name}` needs a value: `{name} = ..`"))),
            };
        }
        input.parse::<Token![=]>()?;
        let value: Expr = input.parse()?;
        let value = if name == "clock" { clock(&value)? } else { quote!(#value) };
        Ok((name, value))
    }

    /// `builder`, with the methods called on it.
    pub fn on(self, builder: Tokens) -> Tokens {
        self.0.into_iter().fold(builder, |builder, (name, value)| quote!(#builder.#name(#value)))
    }
}

/// The clock that a word stands for.
fn clock(value: &Expr) -> Result<Tokens> {
    let word = syn::parse2::<LitStr>(quote!(#value)).map(|word| word.value());
    match word.as_deref() {
        Ok("paused") => Ok(quote!(::ringloop::Clock::Paused)),
        Ok("real") => Ok(quote!(::ringloop::Clock::Real)),
        _ => Err(Error::new_spanned(value, "the clock is \"paused\" or \"real\"")),
    }
}
