package seccomp

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"jail/sandbox/seccomp/bpf"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(childMode); what != "" {
		child(what)
	}
	os.Exit(m.Run())
}

// defaultSpec is of the kind that the shipped default profile compiles to.
func defaultSpec(t testing.TB) *specs.LinuxSeccomp {
	t.Helper()
	text, err := os.ReadFile("testdata/default.json")
	if err != nil {
		t.Fatal(err)
	}
	var s specs.LinuxSeccomp
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

func mustFilter(t testing.TB, s *specs.LinuxSeccomp, o Options) Program {
	t.Helper()
	p, err := Filter(s, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := bpf.Check(p.Code); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFilterIsCompiledOnceAndThenFound(t *testing.T) {
	t.Parallel()
	o := Options{CacheHome: filepath.Join(t.TempDir(), "not there yet")}
	first := mustFilter(t, defaultSpec(t), o)
	second := mustFilter(t, defaultSpec(t), o)
	if first.Cached || first.CacheProblem != nil || !second.Cached || second.CacheProblem != nil {
		t.Errorf("cached: %v, %v; problems: %v, %v", first.Cached, second.Cached, first.CacheProblem, second.CacheProblem)
	}
	if !bytes.Equal(first.Code, second.Code) || first.Len() < 300 {
		t.Errorf("%d instructions compiled, %d found", first.Len(), second.Len())
	}
	for path, want := range map[string]os.FileMode{"": 0o700, "jail": 0o700, "jail/seccomp": 0o700, "jail/seccomp/*": 0o600} {
		found, err := filepath.Glob(filepath.Join(o.CacheHome, path))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %v, %v", path, found, err)
		}
		st, err := os.Stat(found[0])
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s has the mode %v, want %v", found[0], st.Mode().Perm(), want)
		}
	}
}

func TestFilterWithoutACache(t *testing.T) {
	t.Parallel()
	p := mustFilter(t, defaultSpec(t), Options{})
	if p.Cached || p.CacheProblem != nil {
		t.Errorf("cached %v, problem %v", p.Cached, p.CacheProblem)
	}
}

func TestFlagsAreNotPartOfTheCachedProgram(t *testing.T) {
	t.Parallel()
	o := Options{CacheHome: cacheHome(t)}
	s := defaultSpec(t)
	plain := mustFilter(t, s, o)
	s.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow}
	flagged := mustFilter(t, s, o)
	if plain.Flags != 0 || flagged.Flags != 6 || !flagged.Cached {
		t.Errorf("flags %d and %d, cached %v", plain.Flags, flagged.Flags, flagged.Cached)
	}
}

// The compiler's refusals come through, and so do ours; nothing is kept.
func TestRefusals(t *testing.T) {
	t.Parallel()
	home := cacheHome(t)
	big := specs.LinuxSeccomp{DefaultAction: specs.ActErrno}
	for range 70000 {
		big.Syscalls = append(big.Syscalls, specs.LinuxSyscall{Names: []string{"personality"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpEqualTo, Value: 1}}})
	}
	for _, c := range []struct {
		name string
		spec *specs.LinuxSeccomp
		want string
	}{
		{"none", nil, "seccomp: no filter in the spec"},
		{"notify", &specs.LinuxSeccomp{DefaultAction: specs.ActNotify}, "seccomp: defaultAction: SCMP_ACT_NOTIFY is not supported (no listener answers; use SCMP_ACT_ERRNO or SCMP_ACT_LOG)"},
		{"flag", &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Flags: []specs.LinuxSeccompFlag{"X"}}, `seccomp: flags[0]: unknown flag "X"`},
		{"oversized", &big, "seccomp: read the spec: more than 4194304 bytes"},
		{"long text", &specs.LinuxSeccomp{DefaultAction: specs.LinuxSeccompAction(strings.Repeat("\x00\xff", 100000))},
			`seccomp: defaultAction: unknown action "` + strings.Repeat("\\x00\ufffd", 16)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Filter(c.spec, Options{CacheHome: home})
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || len(err.Error()) > 5000 {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	if kept, err := filepath.Glob(home + "/jail/seccomp/*"); err != nil || len(kept) != 0 {
		t.Errorf("kept: %v, %v", kept, err)
	}
}

func TestFiltersAtTheSameTime(t *testing.T) {
	t.Parallel()
	o := Options{CacheHome: cacheHome(t)}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if p, err := Filter(defaultSpec(t), o); err != nil || p.CacheProblem != nil {
				t.Errorf("%v, %v", err, p.CacheProblem)
			}
		})
	}
	wait.Wait()
	if kept, err := filepath.Glob(o.CacheHome + "/jail/seccomp/*"); err != nil || len(kept) != 1 {
		t.Errorf("kept: %v, %v", kept, err)
	}
}

// Every field that decides about the program must be in the key, also one that
// a later version of the OCI types adds.
func TestKeyTellsSpecsApart(t *testing.T) {
	t.Parallel()
	notInKey := map[string]bool{"Flags": true, "ListenerPath": true, "ListenerMetadata": true}
	one, two := uint(1), uint(2)
	make1 := func() *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{
			DefaultAction: specs.ActErrno, DefaultErrnoRet: &one, Architectures: []specs.Arch{specs.ArchX86},
			Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog}, ListenerPath: "a", ListenerMetadata: "b",
			Syscalls: []specs.LinuxSyscall{{Names: []string{"read", "write"}, Action: specs.ActErrno, ErrnoRet: &one,
				Args: []specs.LinuxSeccompArg{{Index: 1, Value: 2, ValueTwo: 3, Op: specs.OpEqualTo}}}},
		}
	}
	base := keyOf(make1(), "compiler")
	if keyOf(make1(), "compiler") != base {
		t.Error("the same spec has two keys")
	}
	if keyOf(make1(), "another") == base {
		t.Error("the compiler does not change the key")
	}
	check := func(name string, s *specs.LinuxSeccomp) {
		if changed := keyOf(s, "compiler") != base; changed == notInKey[name] {
			t.Errorf("%s: key changed: %v", name, changed)
		}
	}
	alter := func(prefix string, pick func(*specs.LinuxSeccomp) reflect.Value) {
		typ := pick(make1()).Type()
		for i := range typ.NumField() {
			s := make1()
			switch f := pick(s).Field(i); f.Kind() {
			case reflect.String:
				f.SetString(f.String() + "x")
			case reflect.Uint, reflect.Uint64:
				f.SetUint(f.Uint() + 1)
			case reflect.Slice:
				f.Set(reflect.Append(f, reflect.Zero(f.Type().Elem())))
				check(typ.Field(i).Name, s)
				f.Set(reflect.Zero(f.Type()))
			case reflect.Pointer:
				f.Set(reflect.ValueOf(&two))
				check(typ.Field(i).Name, s)
				f.Set(reflect.Zero(f.Type()))
			default:
				t.Fatalf("%s%s is of a new kind %v: is it in the key?", prefix, typ.Field(i).Name, f.Kind())
			}
			check(typ.Field(i).Name, s)
		}
	}
	alter("", func(s *specs.LinuxSeccomp) reflect.Value { return reflect.ValueOf(s).Elem() })
	alter("syscalls.", func(s *specs.LinuxSeccomp) reflect.Value { return reflect.ValueOf(&s.Syscalls[0]).Elem() })
	alter("args.", func(s *specs.LinuxSeccomp) reflect.Value { return reflect.ValueOf(&s.Syscalls[0].Args[0]).Elem() })

	moved := make1()
	moved.Syscalls[0].Names = []string{"readwrite"}
	check("joined names", moved)
	moved.Syscalls[0].Names = []string{"read"}
	moved.Syscalls = append(moved.Syscalls, moved.Syscalls[0])
	moved.Syscalls[1].Names = []string{"write"}
	check("split entries", moved)
}

func BenchmarkFilterFromTheCache(b *testing.B) {
	o := Options{CacheHome: cacheHome(b)}
	s := defaultSpec(b)
	mustFilter(b, s, o)
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		if p, err := Filter(s, o); err != nil || !p.Cached {
			b.Fatal(err, p.CacheProblem)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime is steadier than the clock on a machine with other work.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkFilterCompiled(b *testing.B) {
	s := defaultSpec(b)
	for b.Loop() {
		if _, err := Filter(s, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
