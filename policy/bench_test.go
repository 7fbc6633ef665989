package policy

import (
	"testing"

	"jail/profiles"
)

// BenchmarkBrowserToSpec is the whole way from the shipped browser profile, a
// chain of three files, to an OCI spec: it is part of every start of jail.
func BenchmarkBrowserToSpec(b *testing.B) {
	h, err := CurrentHost(profiles.Files)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p, err := Load("browser", h)
		if err != nil {
			b.Fatal(err)
		}
		r, err := p.Resolve(h)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Spec([]string{"/bin/true"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	h, err := CurrentHost(profiles.Files)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load("browser", h); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	h, err := CurrentHost(profiles.Files)
	if err != nil {
		b.Fatal(err)
	}
	p, err := Load("browser", h)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Resolve(h); err != nil {
			b.Fatal(err)
		}
	}
}
