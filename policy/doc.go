// Package policy is the profile language: it reads YAML profiles, merges and
// resolves them, explains them, and compiles them to an OCI runtime spec.
//
// The package is pure. It reads profile files and looks at the machine only
// through a [Host] value; it makes no privileged system call and needs no
// kernel feature, so every stage is a function of plain values:
//
//	browser.yaml --Load--> Profile --Resolve(Host)--> Resolved --Spec--> Compiled
//
// A [Profile] is what was written: the chain of files behind `extends`, each
// value with the place it stands at. A [Resolved] has nothing left to decide:
// variables, globs, conditions, defaults and precedence are gone, every path is
// absolute and every value still knows its [Origin].
//
// The types of the language ([Document] and what it holds) carry the text of
// the reference in their `doc` tags. The decoder, the JSON Schema and the key
// tables of docs/profile-reference.md are all made from them.
package policy
