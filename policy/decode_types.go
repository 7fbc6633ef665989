package policy

import (
	"reflect"
	"strconv"
)

// fill reads a text, a flag or a whole number.
func (v *Value[T]) fill(d *decoder, n *node, f *field) {
	s, ok := d.scalar(n)
	if !ok {
		return
	}
	switch p := any(&v.V).(type) {
	case *string:
		if !d.checkEnum(n, s, f) || !d.checkText(n, s, f) {
			return
		}
		*p = s
	case *bool:
		if n.quoted || (s != "true" && s != "false") {
			d.fail(n, "must be true or false, this is "+strconv.Quote(s), "write true or false without quotes")
			return
		}
		*p = s == "true"
	case *int64:
		i, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n.quoted {
			d.fail(n, "must be a whole number, this is "+strconv.Quote(s), "write it in decimal, without quotes")
			return
		}
		*p = i
	}
	v.Set, v.Origin = true, d.origin(n)
}

// checkText refuses texts whose look depends on quotes.
func (d *decoder) checkText(n *node, s string, f *field) bool {
	if f == nil || f.as != "mode" || n.quoted {
		return true
	}
	// YAML 1.1 reads 0755 as octal, YAML 1.2 as decimal 755, and 1777 is decimal in
	// both: in quotes there is only one reading.
	d.fail(n, "permission bits must stand in quotes", "write "+strconv.Quote(s))
	return false
}

// fill reads a list; a single value stands for a list of one.
func (l *List[T]) fill(d *decoder, n *node, f *field) {
	l.Set, l.Origin = true, d.origin(n)
	if n.kind != sequenceNode {
		if n.kind == scalarNode && singleForList(f) {
			l.Items = make([]T, 1)
			d.value(n, reflect.ValueOf(&l.Items[0]).Elem(), f)
			return
		}
		d.fail(n, "must be a list, this is "+n.kind.String(), "write [a, b], or one entry a line with '- ' before it")
		return
	}
	l.Items = make([]T, len(n.children))
	items := reflect.ValueOf(l.Items)
	for i := range n.children {
		d.path = append(d.path, segment{index: i})
		d.value(&n.children[i], items.Index(i), f)
		d.path = d.path[:len(d.path)-1]
	}
}

// singleForList names the keys whose list may be written as one value: those of
// conditions. Elsewhere `allow: x` for `allow: [x]` is more likely a mistake.
func singleForList(f *field) bool {
	switch f.key {
	case "exists", "env", "command", "session", "arch":
		return true
	}
	return false
}

// fill reads a mapping with free keys.
func (m *Map[T]) fill(d *decoder, n *node, f *field) {
	m.Set, m.Origin = true, d.origin(n)
	if n.kind != mappingNode {
		d.fail(n, "must be a mapping, this is "+n.kind.String(), "write {NAME: value}, or one 'NAME: value' a line")
		return
	}
	m.Entries = make([]MapEntry[T], len(n.children)/2)
	for i := range m.Entries {
		key := &n.children[2*i]
		e := &m.Entries[i]
		e.Key, e.KeyOrigin = key.value, d.origin(key)
		d.path = append(d.path, segment{name: key.value})
		d.value(&n.children[2*i+1], reflect.ValueOf(&e.Value).Elem(), f)
		d.path = d.path[:len(d.path)-1]
	}
}

func (i *Item) short(d *decoder, n *node, f *field) { i.Value.fill(d, n, f) }

func (i *NamespaceItem) short(d *decoder, n *node, _ *field) {
	i.Value.fill(d, n, fieldsOf(reflect.TypeFor[NamespaceItem]()).find("value"))
}

func (s *TmpfsSpec) short(d *decoder, n *node, _ *field) {
	s.On.fill(d, n, nil)
	d.refuseFalse(n, s.On)
}

func (s *DirSpec) short(d *decoder, n *node, _ *field) {
	s.On.fill(d, n, nil)
	d.refuseFalse(n, s.On)
}

// refuseFalse: `tmpfs: false` says nothing about what should be there instead.
func (d *decoder) refuseFalse(n *node, f Flag) {
	if f.Set && !f.V {
		d.fail(n, "can only be true", "take the entry out, or take it away with 'without'")
	}
}

func (s *OverlaySpec) short(d *decoder, n *node, _ *field) {
	if n.value != "discard" {
		d.fail(n, strconv.Quote(n.value)+" is not a value this key takes", "write discard, {keep: DIR} or {layers: [DIR, ...]}")
		return
	}
	s.Discard = Flag{V: true, Set: true, Origin: d.origin(n)}
}

func (s *ContentSpec) short(d *decoder, n *node, f *field) { s.Text.fill(d, n, f) }

func (r *RlimitValue) short(d *decoder, n *node, _ *field) { r.Soft.fill(d, n, nil) }

func (s *IDRangesSpec) short(d *decoder, n *node, _ *field) {
	if n.value != "auto" {
		d.fail(n, strconv.Quote(n.value)+" is not a value this key takes", "write auto, or {uid: [...], gid: [...]}")
		return
	}
	s.Auto = Flag{V: true, Set: true, Origin: d.origin(n)}
}
