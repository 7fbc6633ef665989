package policy

import (
	"testing"

	"golang.org/x/net/idna"
)

// TestASCIIName: a name is given in the form that the full tables give, or not at all.
func TestASCIIName(t *testing.T) {
	for _, name := range []string{
		"bücher.test", "BÜCHER.Test", "faß.test", "straße.müller.test", "пример.испытание", "παράδειγμα.test", "例え.テスト", "中文.test",
		"한국.test", "a-ü-b.test", "ařžý.test", "ıstanbul.test", "_dmarc.bücher.test",
	} {
		want, err := idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false)).ToASCII(name)
		if got := asciiName(name); err != nil || got != want {
			t.Errorf("%s is %q, not %q (%v)", name, got, want, err)
		}
	}
	for _, name := range []string{"ﬁ.test", "bu\u0308cher.test", "ａ.test", "a。test", "xn--ü.test", "ǆ.test", "\u200d.test"} {
		if got := asciiName(name); got != "" {
			t.Errorf("%q is taken for %q", name, got)
		}
	}
	given := 0
	for r := rune(0x80); r < 0x30000; r++ {
		name := "a" + string(r) + "b" + string(r) + ".test"
		got := asciiName(name)
		if got == "" {
			continue
		}
		given++
		if want, err := idna.Lookup.ToASCII(name); err != nil || got != want {
			t.Errorf("%q (%U) is %q, not %q (%v)", name, r, got, want, err)
		}
	}
	if given < 30000 {
		t.Errorf("only %d letters are known", given)
	}
}
