package main

import (
	"io"
	"reflect"
	"testing"
)

// What jail does before the launcher, in a warm process: the cold start is in test/bench.
func BenchmarkBeforeLaunch(b *testing.B) {
	a := &app{out: io.Discard, err: &printer{out: io.Discard}}
	for b.Loop() {
		w := splitWords([]string{"--profile", "browser", "--ro", "/usr/share", "true"}, isCommand, launchOptions())
		var r runCmd
		setFlags(reflect.ValueOf(&r).Elem(), w.flags)
		compiled, _, err := r.compile(a, w.flags, w.program, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := a.plan(bundleOf(compiled), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSplitWords(b *testing.B) {
	for b.Loop() {
		w := splitWords([]string{"--profile", "browser", "--ro", "/usr/share", "true"}, isCommand, launchOptions())
		var r runCmd
		setFlags(reflect.ValueOf(&r).Elem(), w.flags)
	}
}

func BenchmarkFlagLibrary(b *testing.B) {
	for b.Loop() {
		if _, err := newParser(new(grammar)).Parse([]string{"run", "--profile", "browser", "--ro", "/usr/share", "true"}); err != nil {
			b.Fatal(err)
		}
	}
}
