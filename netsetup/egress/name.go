package egress

import (
	"fmt"
	"strings"
)

// CleanName gives a DNS name in the form rules are compared in: lower case,
// no final dot. It refuses what cannot be a host name (RFC 1123, section 2.1),
// with the underscore that service names use in practice.
func CleanName(s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if name == "" {
		return "", fmt.Errorf("name %q is empty", s)
	}
	if len(name) > 253 {
		return "", fmt.Errorf("name %q is longer than 253 characters", s)
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return "", fmt.Errorf("name %q has an empty label", s)
		case len(label) > 63:
			return "", fmt.Errorf("name %q has a label longer than 63 characters", s)
		case label[0] == '-' || label[len(label)-1] == '-':
			return "", fmt.Errorf("name %q has a label with a hyphen at its edge", s)
		case label == "*":
			return "", fmt.Errorf("name %q: a star may only be the whole first label\nwrite *.NAME", s)
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", fmt.Errorf("name %q has the character %q\ninternational names are written in their xn-- form", s, c)
			}
		}
	}
	return name, nil
}

// matchesName reports whether a clean name falls under a name rule.
func (c *rule) matchesName(name string) bool {
	if !c.wild {
		return name == c.name
	}
	rest, ok := strings.CutSuffix(name, c.name)
	return ok && len(rest) > 1 && rest[len(rest)-1] == '.'
}
