package policy

import (
	"reflect"
	"slices"
	"strconv"
)

// part is what one file says, or one `when:` block whose condition holds.
type part struct {
	*Fragment
	// rank grows with the place in the chain. A `when:` block has its file's rank:
	// it counts as the last part of it.
	rank   int
	prefix string // of keys in problems: "" or "when[1].then."
	// project marks what a project file takes away, from whatever profile.
	project bool
}

// listed is an entry of a merged list with what is needed to speak of it.
type listed[T any] struct {
	item T
	rank int
	key  string
	// conditional entries have a `when`; one whose condition does not hold is not
	// active, and is kept only so that `without` can name it.
	conditional, active bool
}

// parts flattens the layers: conditions of blocks are decided here, after the
// variables of all files are known.
func (r *resolver) collectParts() {
	for i, l := range r.profile.Layers {
		r.addVars(&l.Doc.Fragment, 2*i+2, "")
	}
	for i, l := range r.profile.Layers {
		rank := 2*i + 2
		count := func(p part) {
			if l.tightens {
				p = r.setAside(p)
			}
			r.parts = append(r.parts, p)
		}
		count(part{Fragment: &l.Doc.Fragment, rank: rank})
		for j := range l.Doc.When.Items {
			b := &l.Doc.When.Items[j]
			key := "when[" + strconv.Itoa(j) + "]"
			if b.If == nil || !r.holds(b.If, key+".if") {
				r.dormant = append(r.dormant, part{Fragment: &b.Then, rank: rank, prefix: key + ".then."})
				continue
			}
			r.addVars(&b.Then, rank, key+".then.")
			count(part{Fragment: &b.Then, rank: rank, prefix: key + ".then."})
		}
	}
}

func (r *resolver) addVars(f *Fragment, rank int, prefix string) {
	for _, e := range f.Vars.Entries {
		key := prefix + "vars." + e.Key
		if !validVariable(e.Key) {
			r.fail(e.KeyOrigin, key, quote(e.Key)+" is not a variable's name", "letters, digits and _, no digit first")
			continue
		}
		switch e.Key {
		case "HOME", "UID", "GID", "USER", "CWD", "PWD":
			r.fail(e.KeyOrigin, key, e.Key+" is a variable of jail's own", "take another name")
			continue
		}
		if old, ok := r.vars.vars[e.Key]; !ok || old.rank <= rank {
			r.vars.vars[e.Key] = variable{e.Value, key, rank}
		}
	}
}

// mergeList appends the entries of a list over all parts. without names what
// to take away of the entries before; matches decides.
func mergeList[T any](r *resolver, section string,
	list func(*Fragment) *List[T], without func(*Fragment) *List[Text],
	when func(*T) *When, matches func(T, string) bool,
) []listed[T] {
	var all []listed[T]
	for _, p := range r.parts {
		if without != nil {
			for i, w := range without(p.Fragment).Items {
				n := len(all)
				kept := all[:0]
				for _, e := range all {
					if e.rank >= p.rank || !matches(e.item, w.V) {
						kept = append(kept, e)
					}
				}
				all = kept
				if len(all) == n && w.Set && !dormantEntry(r, p.rank, list, matches, w.V) {
					r.failWithout(p, section, i, w)
				}
			}
		}
		l := list(p.Fragment)
		for i := range l.Items {
			key := p.prefix + section + "[" + strconv.Itoa(i) + "]"
			e := listed[T]{item: l.Items[i], rank: p.rank, key: key, active: true}
			if when == nil {
				all = append(all, e)
				continue
			}
			if w := when(&l.Items[i]); w != nil {
				e.conditional, e.active = true, r.holds(w, key+".when")
			}
			all = append(all, e)
		}
	}
	return all
}

// dormantEntry tells whether a block whose condition does not hold here has
// the entry: on another machine `without` would take it away.
func dormantEntry[T any](r *resolver, rank int, list func(*Fragment) *List[T], matches func(T, string) bool, name string) bool {
	for _, p := range r.dormant {
		if p.rank >= rank {
			continue
		}
		for _, item := range list(p.Fragment).Items {
			if matches(item, name) {
				return true
			}
		}
	}
	return false
}

// active gives the entries that count.
func active[T any](all []listed[T]) []listed[T] {
	kept := make([]listed[T], 0, len(all))
	for _, e := range all {
		if e.active {
			kept = append(kept, e)
		}
	}
	return kept
}

func (r *resolver) failWithout(p part, section string, i int, w Text) {
	if p.project {
		return // it speaks of every profile that is used in its folder
	}
	r.fail(w.Origin, p.prefix+"without."+lastKey(section)+"["+strconv.Itoa(i)+"]",
		quote(w.V)+" takes away nothing", "nothing of that name is inherited; 'jail show' lists what is")
}

// lastKey gives the last word of a dotted key: network.egress is taken away
// under without.egress.
func lastKey(key string) string {
	for i := len(key) - 1; i >= 0; i-- {
		if key[i] == '.' {
			return key[i+1:]
		}
	}
	return key
}

func itemWhen(i *Item) *When          { return i.When }
func itemIs(i Item, name string) bool { return i.Value.V == name }
func noWithout(*Fragment) *List[Text] { return &emptyTexts }

var emptyTexts List[Text]

// mergeSection merges a section of single values and free mappings key by key:
// what a later part sets wins. Lists of the section are left alone; they go
// through mergeList. without takes keys away.
func mergeSection[T any](r *resolver, name string, section func(*Fragment) *T, without func(*Fragment) *List[Text]) T {
	var merged T
	dst := reflect.ValueOf(&merged).Elem()
	fs := fieldsOf(dst.Type())
	for _, p := range r.parts {
		for i, w := range without(p.Fragment).Items {
			f := fs.find(w.V)
			if f == nil {
				if fix := didYouMean(w.V, keysOf(fs)); w.Set {
					r.fail(w.Origin, p.prefix+"without."+name+"["+strconv.Itoa(i)+"]", quote(w.V)+" is not a key of "+name, orElse(fix, "its keys are "+keyList(fs)))
				}
				continue
			}
			v := dst.FieldByIndex(f.index)
			if !isSet(v) {
				if !slices.ContainsFunc(r.dormant, func(d part) bool {
					return d.rank < p.rank && isSet(reflect.ValueOf(section(d.Fragment)).Elem().FieldByIndex(f.index))
				}) {
					r.failWithout(p, name, i, w)
				}
				continue
			}
			v.SetZero()
		}
		mergeStruct(dst, reflect.ValueOf(section(p.Fragment)).Elem(), fs)
	}
	return merged
}

func mergeStruct(dst, src reflect.Value, fs *fieldSet) {
	for i := range fs.fields {
		index := fs.fields[i].index
		s, d := src.FieldByIndex(index), dst.FieldByIndex(index)
		if !isSet(s) {
			continue
		}
		if _, whole := s.Interface().(shorthand); whole {
			d.Set(s) // `auto` and a mapping do not mix
			continue
		}
		if s.Kind() == reflect.Pointer {
			// A section in a section (network.dns) merges by its own keys; a copy,
			// because the first file's must stay as it was written.
			fresh := reflect.New(s.Type().Elem())
			if !d.IsNil() {
				fresh.Elem().Set(d.Elem())
			}
			mergeStruct(fresh.Elem(), s.Elem(), fieldsOf(s.Type().Elem()))
			if o := fieldsOf(s.Type().Elem()).origin; o >= 0 {
				fresh.Elem().Field(o).Set(s.Elem().Field(o))
			}
			d.Set(fresh)
			continue
		}
		if m, ok := d.Addr().Interface().(merger); ok {
			m.merge(s.Addr().Interface())
			continue
		}
		d.Set(s)
	}
}

// merger is a value that takes a later one in instead of giving way to it.
type merger interface{ merge(later any) }

// merge appends: lists add up.
func (l *List[T]) merge(later any) {
	src := later.(*List[T])
	l.Items = append(append(make([]T, 0, len(l.Items)+len(src.Items)), l.Items...), src.Items...)
	l.Set, l.Origin = true, src.Origin
}

// merge goes key by key: the later entry wins.
func (m *Map[T]) merge(later any) {
	src := later.(*Map[T])
	entries := append(make([]MapEntry[T], 0, len(m.Entries)+len(src.Entries)), m.Entries...)
next:
	for _, e := range src.Entries {
		for i := range entries {
			if entries[i].Key == e.Key {
				entries[i] = e
				continue next
			}
		}
		entries = append(entries, e)
	}
	m.Entries, m.Set, m.Origin = entries, true, src.Origin
}

// isSet tells whether a value of a section was written. Every type of the
// language but pointers has a Set field.
func isSet(v reflect.Value) bool {
	if v.Kind() == reflect.Pointer {
		return !v.IsNil()
	}
	if s, ok := v.Addr().Interface().(setter); ok {
		return s.isSet()
	}
	return false
}

type setter interface{ isSet() bool }

func (v *Value[T]) isSet() bool { return v.Set }
func (l *List[T]) isSet() bool  { return l.Set }
func (m *Map[T]) isSet() bool   { return m.Set }

func keysOf(fs *fieldSet) []string {
	keys := make([]string, len(fs.fields))
	for i := range fs.fields {
		keys[i] = fs.fields[i].key
	}
	return keys
}

func orElse(s, fallback string) string {
	if s != "" {
		return s
	}
	return fallback
}
