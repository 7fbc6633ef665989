package escape

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/policy"
	"jail/profiles"
	"jail/sandbox"
	"jail/sandbox/seccomp"
)

// launch runs a case as `jail run` does, by the same packages; weakened, without its protection.
func launch(name string, weakened bool) int {
	c := find(name)
	status, err := func() (sandbox.Status, error) {
		host, err := policy.CurrentHost(profiles.Files)
		if err != nil {
			return sandbox.Status{}, err
		}
		compiled, err := c.compile(name, host)
		if err != nil {
			return sandbox.Status{}, err
		}
		if c.always != nil {
			c.always(compiled.Spec)
		}
		if weakened && c.loosen != nil {
			c.loosen(compiled.Spec)
		}
		bundle := &sandbox.Bundle{Spec: compiled.Spec}
		for _, e := range compiled.Tree {
			bundle.Tree = append(bundle.Tree, sandbox.TreeEntry(e))
		}
		facts, err := sandbox.Gather()
		if err != nil {
			return sandbox.Status{}, err
		}
		plan, err := sandbox.Compile(bundle, facts)
		if err != nil {
			return sandbox.Status{}, err
		}
		if weakened {
			for _, step := range c.without {
				takeOut(plan, c.fill(step, host.Home))
			}
		}
		o := sandbox.Options{}
		if plan.Seccomp != nil {
			filter, err := seccomp.Filter(plan.Seccomp, seccomp.Options{CacheHome: host.CacheHome})
			if err != nil {
				return sandbox.Status{}, err
			}
			o.Filter = filter.Code
		}
		if c.between != nil {
			c.between(host.Home)
		}
		return plan.Run(o, [3]*os.File{os.Stdin, os.Stdout, os.Stderr}, func(string) {})
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "launch:", err)
		return 125
	}
	return status.Code
}

// compile loads the profile that the test has written, with the attack as its program.
func (c *escape) compile(profile string, host *policy.Host) (*policy.Compiled, error) {
	p, err := policy.Load(profile, host)
	if err != nil {
		return nil, err
	}
	r, err := p.Resolve(host)
	if err != nil {
		return nil, err
	}
	compiled, err := r.Spec(c.command(host.Home))
	if err != nil {
		return nil, err
	}
	compiled.Spec.Process.Terminal = false
	return compiled, nil
}

// takeOut deletes the steps whose text begins so. The plan keeps them to itself, as it should: only a test has reason to
// reach for them, and it does so by reflection. A step that is not there is a mistake of the test's.
func takeOut(p *sandbox.Plan, text string) {
	field := reflect.ValueOf(p).Elem().FieldByName("steps")
	steps := reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem()
	kept := reflect.MakeSlice(steps.Type(), 0, steps.Len())
	for i := range steps.Len() {
		step := steps.Index(i).FieldByName("step")
		said := reflect.NewAt(step.Type(), unsafe.Pointer(step.UnsafeAddr())).Elem().Interface().(fmt.Stringer).String()
		if !strings.HasPrefix(said, text) {
			kept = reflect.Append(kept, steps.Index(i))
		}
	}
	if kept.Len() == steps.Len() {
		panic("the plan has no step " + text)
	}
	steps.Set(kept)
}

// Ways to loosen a specification.

func noFilter(s *specs.Spec) { s.Linux.Seccomp = nil }

func everyCapability(s *specs.Spec) {
	all := []string{"CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_MKNOD"}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all, Inheritable: all, Ambient: all}
}

func without(kind specs.LinuxNamespaceType) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
	}
}

func noMount(below string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		n := len(s.Mounts)
		s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return strings.HasSuffix(m.Destination, below) })
		if len(s.Mounts) == n {
			panic("no mount at " + below)
		}
	}
}
