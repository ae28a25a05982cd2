//! Whether a module has the shape of the world: its imports and exports, before it runs.

use std::path::Path;

use wasmtime::{ExternType, FuncType, ValType};

use super::abi;
use super::load_error::LoadProblem;

/// A function of the world. All results are i32.
struct Function {
    name: &'static str,
    parameters: &'static [Number],
    results: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    I32,
    I64,
}

use Number::{I32, I64};

const EXPORTS: [Function; 5] = [
    Function {
        name: abi::REALLOC,
        parameters: &[I32, I32, I32, I32],
        results: 1,
    },
    Function {
        name: abi::DESCRIBE,
        parameters: &[],
        results: 1,
    },
    Function {
        name: abi::CONFIGURE,
        parameters: &[I32, I32],
        results: 1,
    },
    Function {
        name: abi::PROCESS,
        parameters: &[I32, I32],
        results: 1,
    },
    Function {
        name: abi::POST_PROCESS,
        parameters: &[I32],
        results: 0,
    },
];

/// What a module may import.
const IMPORTS: [Function; 3] = [
    Function {
        name: abi::HOST_LOG,
        parameters: &[I32, I32, I32],
        results: 0,
    },
    Function {
        name: abi::HOST_STATE_GET,
        parameters: &[I32, I32, I32, I64, I32],
        results: 0,
    },
    Function {
        name: abi::HOST_STATE_SCAN,
        parameters: &[I32, I32, I32, I32, I32, I64, I32],
        results: 0,
    },
];
const INITIALIZE: Function = Function {
    name: abi::INITIALIZE,
    parameters: &[],
    results: 0,
};

/// Names everything that is missing or unknown at once.
pub(super) fn check(module: &wasmtime::Module, path: &Path, memory_max: u64) -> Result<(), LoadProblem> {
    check_imports(module, path)?;
    check_exports(module, path)?;
    check_memory(module, path, memory_max)
}

fn check_imports(module: &wasmtime::Module, path: &Path) -> Result<(), LoadProblem> {
    let mut names = Vec::new();
    for import in module.imports() {
        let known = IMPORTS.iter().find(|known| known.name == import.name());
        match known.filter(|_| import.module() == abi::HOST_MODULE) {
            Some(known) => known.check(&import.ty(), path)?,
            None => names.push(format!("{}.{}", import.module(), import.name())),
        }
    }
    if names.is_empty() {
        Ok(())
    } else {
        Err(LoadProblem::UnknownImports {
            path: path.into(),
            names,
        })
    }
}

fn check_exports(module: &wasmtime::Module, path: &Path) -> Result<(), LoadProblem> {
    let wanted = EXPORTS.iter().map(|function| function.name).chain([abi::MEMORY]);
    let missing = wanted.filter(|name| module.get_export(name).is_none());
    let names: Vec<_> = missing.map(str::to_owned).collect();
    if !names.is_empty() {
        return Err(LoadProblem::MissingExports {
            path: path.into(),
            names,
        });
    }
    for function in EXPORTS.iter().chain([&INITIALIZE]) {
        if let Some(found) = module.get_export(function.name) {
            function.check(&found, path)?;
        }
    }
    Ok(())
}

fn check_memory(module: &wasmtime::Module, path: &Path, limit: u64) -> Result<(), LoadProblem> {
    match module.get_export(abi::MEMORY) {
        Some(ExternType::Memory(memory)) => {
            let minimum = memory.minimum().saturating_mul(memory.page_size());
            if minimum > limit {
                return Err(LoadProblem::MemoryMinimum {
                    path: path.into(),
                    minimum,
                    limit,
                });
            }
            Ok(())
        }
        other => Err(LoadProblem::Signature {
            path: path.into(),
            name: abi::MEMORY.to_owned(),
            expected: "a memory".to_owned(),
            found: other.as_ref().map_or_else(|| "nothing".to_owned(), kind),
        }),
    }
}

impl Function {
    fn check(&self, found: &ExternType, path: &Path) -> Result<(), LoadProblem> {
        if let ExternType::Func(function) = found
            && self.fits(function)
        {
            return Ok(());
        }
        Err(LoadProblem::Signature {
            path: path.into(),
            name: self.name.to_owned(),
            expected: self.signature(),
            found: kind(found),
        })
    }

    fn fits(&self, function: &FuncType) -> bool {
        let parameters = function.params().map(|ty| Number::of(&ty));
        let results = function.results().map(|ty| Number::of(&ty));
        parameters.eq(self.parameters.iter().map(|number| Some(*number)))
            && results.eq(std::iter::repeat_n(Some(I32), self.results))
    }

    fn signature(&self) -> String {
        let parameters: Vec<&str> = self.parameters.iter().map(|number| number.name()).collect();
        let results = vec!["i32"; self.results];
        format!("({}) -> ({})", parameters.join(", "), results.join(", "))
    }
}

impl Number {
    fn of(ty: &ValType) -> Option<Self> {
        match ty {
            ValType::I32 => Some(I32),
            ValType::I64 => Some(I64),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            I32 => "i32",
            I64 => "i64",
        }
    }
}

fn kind(found: &ExternType) -> String {
    let list = |types: &mut dyn Iterator<Item = ValType>| {
        types.map(|ty| ty.to_string()).collect::<Vec<_>>().join(", ")
    };
    match found {
        ExternType::Func(ty) => format!("({}) -> ({})", list(&mut ty.params()), list(&mut ty.results())),
        ExternType::Memory(_) => "a memory".to_owned(),
        ExternType::Table(_) => "a table".to_owned(),
        ExternType::Global(_) => "a global".to_owned(),
        ExternType::Tag(_) => "a tag".to_owned(),
    }
}
