//! `#[derive(Table)]`: turns a struct into a table declaration and a typed row.
//!
//! ```ignore
//! /// Connections of a process with one peer
//! #[derive(Table)]
//! #[table(name = "tcp_metric", entity = "tcp_link", probe = "tcp")]
//! struct TcpMetric {
//!     /// Process that owns the connection
//!     #[key]
//!     tgid: u32,
//!     /// Bytes delivered to the application
//!     #[gauge(unit = "bytes", per_period, sub = "tcp_stats")]
//!     rx_bytes: u64,
//! }
//! ```
//!
//! Field attributes: `#[key]`, `#[label]`, `#[gauge(..)]`, `#[counter(..)]`, `#[summary(..)]`, `#[histogram(..)]`, each
//! with `name = ".."` where the exported name is no Rust identifier. Metrics take `unit = ".."`, one of `level`
//! (default), `per_period`, `cumulative`, `bad = "up" | "down" | "both"` (default: never) and `sub = ".."`.
//! The doc comment is the help text.

use proc_macro::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Error, Expr, Field, Fields, Lit, LitStr, Meta, parse_macro_input};

#[proc_macro_derive(Table, attributes(table, key, label, gauge, counter, summary, histogram))]
pub fn derive_table(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> syn::Result<proc_macro2::TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(input, "Table needs a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(input, "Table needs named fields"));
    };
    let table = TableAttr::parse(input)?;
    let columns = fields.named.iter().map(Column::parse).collect::<syn::Result<Vec<_>>>()?;

    let ident = &input.ident;
    let (name, entity, probe, help) = (&table.name, &table.entity, &table.probe, doc(&input.attrs));
    let declared = |name: &str| columns.iter().any(|column| !column.is_label() && column.name == name);
    let definitions = columns.iter().map(|column| column.definition(entity, declared(&format!("{}_max", column.name))));
    let labels = columns.iter().filter(|c| c.is_label()).map(|c| {
        let (field, text) = (&c.ident, &c.name);
        quote! { ::gala_model::value::LabelText::with_text(&self.#field, &mut |text| out.label(#text, text)); }
    });
    let values = columns.iter().filter(|c| !c.is_label()).map(|c| {
        let field = &c.ident;
        quote! { out.push(::gala_model::table::value_of(&self.#field)); }
    });
    let tgid = columns.iter().find(|c| c.is_label() && c.name == "tgid").map_or_else(
        || quote! { None },
        |c| {
            let field = &c.ident;
            quote! { Some(self.#field as u32) }
        },
    );
    let container = columns.iter().find(|c| c.is_label() && c.name == "container_id").map(|c| {
        let field = &c.ident;
        quote! { fn container_id(&self) -> Option<&str> { Some(self.#field.as_ref()) } }
    });
    Ok(quote! {
        impl ::gala_model::table::Table for #ident {
            const DEF: ::gala_model::table::TableDef = ::gala_model::table::TableDef {
                name: #name, entity: #entity, probe: #probe, help: #help, fields: &[#(#definitions),*],
            };
            fn def() -> &'static ::gala_model::table::TableDef {
                static DEF: ::gala_model::table::TableDef = <#ident as ::gala_model::table::Table>::DEF;
                &DEF
            }
            fn labels(&self, out: &mut dyn ::gala_model::value::LabelSink) { #(#labels)* }
            fn values(&self, out: &mut Vec<::gala_model::value::Value>) { #(#values)* }
            fn tgid(&self) -> Option<u32> { #tgid }
            #container
        }
    })
}

struct TableAttr {
    name: String,
    entity: String,
    probe: String,
}

impl TableAttr {
    fn parse(input: &DeriveInput) -> syn::Result<Self> {
        let attr = input
            .attrs
            .iter()
            .find(|attr| attr.path().is_ident("table"))
            .ok_or_else(|| Error::new_spanned(&input.ident, "missing #[table(name = .., entity = .., probe = ..)]"))?;
        let mut found = Self { name: String::new(), entity: String::new(), probe: String::new() };
        attr.parse_nested_meta(|meta| {
            let text = meta.value()?.parse::<LitStr>()?.value();
            match meta.path.get_ident().map(ToString::to_string).as_deref() {
                Some("name") => found.name = text,
                Some("entity") => found.entity = text,
                Some("probe") => found.probe = text,
                _ => return Err(meta.error("expected name, entity or probe")),
            }
            Ok(())
        })?;
        if found.name.is_empty() || found.entity.is_empty() || found.probe.is_empty() {
            return Err(Error::new_spanned(attr, "name, entity and probe are all needed"));
        }
        Ok(found)
    }
}

struct Column {
    ident: syn::Ident,
    name: String,
    help: String,
    role: &'static str,
    unit: String,
    semantics: &'static str,
    bad: &'static str,
    sub_probe: String,
}

const ROLES: [&str; 6] = ["key", "label", "gauge", "counter", "summary", "histogram"];

impl Column {
    fn parse(field: &Field) -> syn::Result<Self> {
        let ident = field.ident.clone().ok_or_else(|| Error::new_spanned(field, "a column needs a name"))?;
        let (attr, role) = field
            .attrs
            .iter()
            .find_map(|attr| ROLES.iter().find(|role| attr.path().is_ident(role)).map(|role| (attr, *role)))
            .ok_or_else(|| {
                Error::new_spanned(field, "expected #[key], #[label], #[gauge], #[counter], #[summary] or #[histogram]")
            })?;
        let mut column = Self {
            name: ident.to_string(),
            ident,
            help: doc(&field.attrs),
            role,
            unit: String::new(),
            semantics: "Level",
            bad: "Never",
            sub_probe: String::new(),
        };
        if column.help.is_empty() {
            return Err(Error::new_spanned(field, "a column needs a doc comment: it is the metric's help text"));
        }
        if matches!(attr.meta, Meta::List(_)) {
            attr.parse_nested_meta(|meta| {
                let key = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                match key.as_str() {
                    "level" => column.semantics = "Level",
                    "per_period" => column.semantics = "PerPeriod",
                    "cumulative" => column.semantics = "Cumulative",
                    "unit" => column.unit = meta.value()?.parse::<LitStr>()?.value(),
                    "name" => column.name = meta.value()?.parse::<LitStr>()?.value(),
                    "sub" => column.sub_probe = meta.value()?.parse::<LitStr>()?.value(),
                    "bad" => {
                        let value = meta.value()?.parse::<LitStr>()?;
                        column.bad = match value.value().as_str() {
                            "up" => "Up",
                            "down" => "Down",
                            "both" => "Both",
                            _ => return Err(Error::new_spanned(value, "expected up, down or both")),
                        };
                    }
                    _ => return Err(meta.error("expected name, unit, sub, bad, level, per_period or cumulative")),
                }
                Ok(())
            })?;
        }
        Ok(column)
    }

    fn is_label(&self) -> bool {
        matches!(self.role, "key" | "label")
    }

    fn definition(&self, entity: &str, max_is_declared: bool) -> proc_macro2::TokenStream {
        let role = match self.role {
            "key" => quote! { Key },
            "label" => quote! { Label },
            "gauge" => quote! { Metric(::gala_model::table::Kind::Gauge) },
            "counter" => quote! { Metric(::gala_model::table::Kind::Counter) },
            "summary" => quote! { Metric(::gala_model::table::Kind::Summary) },
            _ => quote! { Metric(::gala_model::table::Kind::Histogram) },
        };
        let semantics = quote::format_ident!("{}", self.semantics);
        let bad = quote::format_ident!("{}", self.bad);
        let (name, unit, help, sub) = (&self.name, &self.unit, &self.help, &self.sub_probe);
        let base = format!("gala_gopher_{entity}_{name}");
        let [sum, max, count, bucket] = ["sum", "max", "count", "bucket"].map(|suffix| format!("{base}_{suffix}"));
        quote! {
            ::gala_model::table::FieldDef {
                name: #name,
                role: ::gala_model::table::Role::#role,
                unit: #unit,
                help: #help,
                semantics: ::gala_model::table::Semantics::#semantics,
                bad: ::gala_model::table::Bad::#bad,
                sub_probe: #sub,
                series: ::gala_model::table::SeriesNames {
                    base: #base, sum: #sum, max: #max, count: #count, bucket: #bucket, max_is_declared: #max_is_declared,
                },
            }
        }
    }
}

/// The doc comment as one line.
fn doc(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter(|attr| attr.path().is_ident("doc")).filter_map(|attr| match &attr.meta {
        Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(lit) => match &lit.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ").trim().to_owned()
}
