//! The function that an attribute stands on.

use proc_macro2::{Group, Ident, TokenStream as Tokens};
use quote::quote;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Error, Generics, Result, ReturnType, Token, Visibility, parenthesized};

/// A plain `async fn` without parameters.
pub struct Function {
    /// What stands before it, this attribute apart.
    pub attributes: Vec<Attribute>,
    visibility: Visibility,
    pub name: Ident,
    output: ReturnType,
    /// The braces and what is in them, whatever that is.
    body: Group,
}

impl Function {
    /// Reads `item`; `attribute` is who asks, for the errors.
    pub fn parse(attribute: &str, item: Tokens) -> Result<Function> {
        let read = |input: ParseStream<'_>| Function::read(attribute, input);
        read.parse2(item)
    }

    fn read(attribute: &str, input: ParseStream<'_>) -> Result<Function> {
        let refuse = |why: &str| input.error(format!("{attribute} {why}"));
        let no_function = "stands before an `async fn`";
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let is_async = input.parse::<Option<Token![async]>>()?.is_some();
        if input.peek(Token![const]) || input.peek(Token![unsafe]) || input.peek(Token![extern]) {
            return Err(refuse("needs a plain `async fn`"));
        }
        if !input.peek(Token![fn]) {
            return Err(refuse(no_function));
        }
        if !is_async {
            return Err(refuse("needs an `async fn`: put `async` before `fn`"));
        }
        input.parse::<Token![fn]>()?;
        let name = input.parse()?;
        let generics: Generics = input.parse()?;
        if !generics.params.is_empty() {
            return Err(Error::new_spanned(generics, format!("{attribute} {GENERIC}")));
        }
        let parameters;
        parenthesized!(parameters in input);
        if !parameters.is_empty() {
            return Err(parameters.error(format!(
                "{attribute} calls the function without arguments: it cannot have parameters"
            )));
        }
        let output = input.parse()?;
        if input.peek(Token![where]) {
            return Err(refuse(GENERIC));
        }
        let body = input.parse().map_err(|_| refuse(no_function))?;
        Ok(Function { attributes, visibility, name, output, body })
    }

    /// The function inside of one that is not async, has `attribute` besides its own, and whose value is that of `call`, which
    /// gets the name of the one inside.
    pub fn around(self, attribute: Tokens, call: impl FnOnce(&Ident) -> Tokens) -> Tokens {
        let Function { attributes, visibility, name, output, body } = self;
        let call = call(&name);
        quote! {
            #attribute
            #(#attributes)*
            #visibility fn #name() #output {
                async fn #name() #output #body
                #call
            }
        }
    }
}

/// Why there are no type parameters.
const GENERIC: &str = "cannot tell what the function is to be generic over";
