package policy

import "strings"

// notYet names what the language knows and this build cannot do yet. A profile
// that asks for one of them is refused, never run without it. An entry goes when
// the feature comes.
var notYet = [][2]string{
	{"network.cni", "CNI networks"},
}

// available refuses a feature that stands in notYet.
func (r *resolver) available(feature string, o Origin) bool {
	what, refused := unavailable(feature)
	if refused {
		key, _, _ := strings.Cut(feature, ":")
		r.fail(o, key, "this version of jail does not have "+what+" yet, and does not run a program without what its profile asks for", "take the key out")
	}
	return !refused
}

// unavailable tells whether this build lacks a feature, and what it is.
func unavailable(feature string) (what string, refused bool) {
	for _, f := range notYet {
		if f[0] == feature {
			return f[1], true
		}
	}
	return "", false
}
