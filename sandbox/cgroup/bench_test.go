package cgroup

import (
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// BenchmarkStart measures what each way adds to a start and to an end. For `direct` the process first moves into a
// scope, where it finds what a unit with Delegate= offers; with huge pages, which no manager hands over, it has to be
// started in a subtree that root handed over. Medians and tenth percentiles are reported, because one slow answer of a
// manager would hide the rest.
func BenchmarkStart(b *testing.B) {
	res := &specs.LinuxResources{Memory: memoryLimit(64 << 20), Pids: &specs.LinuxPids{Limit: 100}}
	for _, bench := range []struct {
		name  string
		first Way
		way   Way
		res   *specs.LinuxResources
	}{
		{"direct", Scope, Direct, res},
		{"direct, no limit", Scope, Direct, nil},
		{"direct, huge pages", Auto, Direct, &specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 64 << 20}}}},
		{"scope", Auto, Scope, res},
		{"root, no limit", Auto, Root, nil},
		{"root, huge pages", Auto, Root, &specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB"}}}},
		{"v1", Auto, V1, res},
	} {
		b.Run(bench.name, func(b *testing.B) {
			if bench.first != Auto {
				g, err := Open(nil, Options{Name: "first", Way: bench.first})
				if err != nil || g.Way() != bench.first {
					b.Skipf("needs the way %s: %v", bench.first, err)
				}
				defer g.Close()
			}
			var opens, closes []time.Duration
			for b.Loop() {
				begun := time.Now()
				g, err := Open(bench.res, Options{Name: "bench", Way: bench.way})
				opens = append(opens, time.Since(begun))
				if err != nil || g.Way() != bench.way {
					b.Skipf("needs the way %s: %v", bench.way, err)
				}
				begun = time.Now()
				if err := g.Close(); err != nil {
					b.Fatal(err)
				}
				closes = append(closes, time.Since(begun))
			}
			b.ReportMetric(at(opens, 50), "open-us")
			b.ReportMetric(at(opens, 10), "open-p10-us")
			b.ReportMetric(at(closes, 50), "close-us")
			b.ReportMetric(at(closes, 10), "close-p10-us")
		})
	}
}

// at is a percentile in microseconds.
func at(all []time.Duration, percent int) float64 {
	slices.Sort(all)
	return float64(all[(len(all)-1)*percent/100].Nanoseconds()) / 1000
}

func BenchmarkLook(b *testing.B) {
	for b.Loop() {
		if _, err := look(""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWatcher(b *testing.B) {
	for b.Loop() {
		w, err := startWatcher()
		if err != nil {
			b.Fatal(err)
		}
		w.stop()
	}
}
