package policy

import "strings"

// matchWord matches s against a pattern of *, ? and [] in which * takes any
// characters: for names, and for one component of a path.
func matchWord(pattern, s string) bool {
	// The usual two-finger walk: on a mismatch, let the last * take one more.
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, mark = p, i
				p++
				continue
			}
			if n := matchOne(pattern[p:], s[i]); n > 0 {
				p, i = p+n, i+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches c against what pattern starts with: a character, ? or a
// class. It gives how much of the pattern that took, 0 for no match. A bracket
// that nothing closes stands for itself.
func matchOne(pattern string, c byte) int {
	if pattern[0] == '[' {
		if n, ok := matchClass(pattern, c); n > 0 {
			if ok {
				return n
			}
			return 0
		}
	}
	if pattern[0] == '?' || pattern[0] == c {
		return 1
	}
	return 0
}

// matchClass matches c against the class that pattern starts with. n is the
// length of the class, 0 when there is no closing bracket.
func matchClass(pattern string, c byte) (n int, ok bool) {
	end := strings.IndexByte(pattern[1:], ']')
	if end <= 0 {
		if end < 0 {
			return 0, false
		}
		// "[]" followed by more: a ] right behind the bracket is a member.
		next := strings.IndexByte(pattern[2:], ']')
		if next < 0 {
			return 0, false
		}
		end = next + 1
	}
	body := pattern[1 : 1+end]
	not := body[0] == '!' || body[0] == '^'
	if not {
		body = body[1:]
	}
	for i := 0; i < len(body); i++ {
		if i+2 < len(body) && body[i+1] == '-' {
			ok = ok || body[i] <= c && c <= body[i+2]
			i += 2
		} else {
			ok = ok || body[i] == c
		}
	}
	return end + 2, ok != not
}

// matchPath matches a path against a pattern whose component ** takes any
// number of components.
func matchPath(pattern, p string) bool {
	return matchComponents(components(pattern), components(p))
}

func matchComponents(pattern, p []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for len(pattern) > 1 && pattern[1] == "**" {
				pattern = pattern[1:]
			}
			if len(pattern) == 1 {
				return len(p) > 0
			}
			for i := range p {
				if matchComponents(pattern[1:], p[i:]) {
					return true
				}
			}
			return false
		}
		if len(p) == 0 || !matchWord(pattern[0], p[0]) {
			return false
		}
		pattern, p = pattern[1:], p[1:]
	}
	return len(p) == 0
}

func components(p string) []string {
	p = strings.Trim(p, "/")
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}

func isPattern(p string) bool { return strings.ContainsAny(p, "*?[") }
