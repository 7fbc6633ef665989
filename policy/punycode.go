package policy

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// plainLetters are the letters beyond ASCII for which lower case is all that a name needs before it is encoded: no
// normalization, no mapping (RFC 5895). The tables for all others would be initialized at every start of jail.
var plainLetters = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 0xdf, Hi: 0xf6, Stride: 1}, {Lo: 0xf8, Hi: 0x131, Stride: 1}, {Lo: 0x135, Hi: 0x137, Stride: 1}, {Lo: 0x13a, Hi: 0x13e, Stride: 1},
	{Lo: 0x142, Hi: 0x148, Stride: 1}, {Lo: 0x14b, Hi: 0x17e, Stride: 1}, {Lo: 0x3ac, Hi: 0x3ce, Stride: 1}, {Lo: 0x430, Hi: 0x45f, Stride: 1},
	{Lo: 0x3041, Hi: 0x3096, Stride: 1}, {Lo: 0x30a1, Hi: 0x30fa, Stride: 1}, {Lo: 0x4e00, Hi: 0x9fff, Stride: 1}, {Lo: 0xac00, Hi: 0xd7a3, Stride: 1},
}}

// asciiName gives a name in the form that the DNS has it in (RFC 5891); "" where that takes more than is known here.
func asciiName(s string) string {
	for _, r := range s {
		if r >= utf8.RuneSelf && !unicode.Is(plainLetters, unicode.ToLower(r)) || r == 'ẞ' { // the large ß, which stands for ss
			return ""
		}
	}
	labels := strings.Split(strings.ToLower(strings.TrimPrefix(s, "*.")), ".")
	for i, l := range labels {
		if strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") == "" {
			continue
		}
		if strings.HasPrefix(l, "xn--") {
			return ""
		}
		labels[i] = "xn--" + punycode([]rune(l))
	}
	name := strings.Join(labels, ".")
	if badHost(name) != "" {
		return ""
	}
	if strings.HasPrefix(s, "*.") {
		return "*." + name
	}
	return name
}

// punycode encodes a label (RFC 3492, section 6.3).
func punycode(label []rune) string {
	const base, tMin, tMax, skew, damp = 36, 1, 26, 38, 700
	var out []byte
	for _, r := range label {
		if r < utf8.RuneSelf {
			out = append(out, byte(r))
		}
	}
	basic := len(out)
	if basic > 0 {
		out = append(out, '-')
	}
	digit := func(d int) byte { return "abcdefghijklmnopqrstuvwxyz0123456789"[d] }
	n, delta, bias := rune(utf8.RuneSelf), 0, 72
	for done := basic; done < len(label); {
		next := slices.MinFunc(label, func(a, b rune) int {
			// The least of those that have not been encoded.
			if (a < n) != (b < n) {
				return map[bool]int{true: 1, false: -1}[a < n]
			}
			return int(a - b)
		})
		delta += int(next-n) * (done + 1)
		n = next
		for _, r := range label {
			if r < n {
				delta++
			}
			if r != n {
				continue
			}
			q := delta
			for k := base; ; k += base {
				t := min(max(k-bias, tMin), tMax)
				if q < t {
					break
				}
				out = append(out, digit(t+(q-t)%(base-t)))
				q = (q - t) / (base - t)
			}
			out = append(out, digit(q))
			// Adaptation of the bias (section 6.1).
			if done == basic {
				delta /= damp
			} else {
				delta /= 2
			}
			delta += delta / (done + 1)
			bias = 0
			for ; delta > (base-tMin)*tMax/2; bias += base {
				delta /= base - tMin
			}
			bias += (base - tMin + 1) * delta / (delta + skew)
			delta = 0
			done++
		}
		delta++
		n++
	}
	return string(out)
}

// asciiFix is what to write instead of a name with letters beyond ASCII; otherwise for any other.
func asciiFix(name, otherwise string) string {
	if strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return otherwise
	}
	if a := asciiName(name); a != "" {
		return "the DNS has it as `" + a + "`: write that"
	}
	return "write it as the DNS has it, each such label beginning with xn--; 'idn2 NAME' prints that"
}
