package policy

import "strconv"

// FileDefault and FileCommandLine are the File of an Origin that lies in no
// profile file.
const (
	FileDefault     = "default"      // built into jail
	FileCommandLine = "command line" // a flag such as --bind or --set
)

// Origin is the place a value was written at.
type Origin struct {
	File   string // as the user would name it; "shipped:NAME.yaml" for a profile inside the binary
	Line   int    // 1-based; 0 where File has no lines
	Column int    // 1-based, in characters
}

// String gives "file:line:column", or the bare File where there are no lines.
func (o Origin) String() string {
	if o.Line == 0 {
		return o.File
	}
	return o.File + ":" + strconv.Itoa(o.Line) + ":" + strconv.Itoa(o.Column)
}

// Value is one value of a profile and the place it was written at. Set is false
// where no file says anything, which is not the same as an empty value.
type Value[T any] struct {
	V      T
	Set    bool
	Origin Origin
}

// Or gives the value, or fallback where it is not set.
func (v Value[T]) Or(fallback T) T {
	if v.Set {
		return v.V
	}
	return fallback
}

// Text, Flag and Number are the common values.
type (
	Text   = Value[string]
	Flag   = Value[bool]
	Number = Value[int64]
)

// List is a list of a profile. Set tells `[]`, which allows nothing, from a key
// that is not there.
type List[T any] struct {
	Items  []T
	Set    bool
	Origin Origin
}

// Map is a mapping with free keys, in the order of the file.
type Map[T any] struct {
	Entries []MapEntry[T]
	Set     bool
	Origin  Origin
}

// MapEntry is one key of a Map and its value.
type MapEntry[T any] struct {
	Key       string
	KeyOrigin Origin
	Value     T
}
