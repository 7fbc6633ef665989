package policy

import (
	_ "embed"
	"encoding/binary"
	"hash/fnv"
)

// The shipped profiles are parsed when jail is built, not at each start: YAML
// costs about as much as making the sandbox does. shipped.trees holds, for each
// file, a hash of its text and the nodes that parseYAML made of it; a text that
// is not in it goes through the parser. So the file can be out of date (a test
// says so) but never wrong.
//
//go:generate go test -run TestShippedTrees -update .
//go:embed shipped.trees
var shippedTrees string

// treeKey tells texts apart. Both the texts and the trees come out of the same
// binary, so nobody is there to make two texts collide.
func treeKey(text []byte) uint64 {
	h := fnv.New64a()
	h.Write(text)
	return h.Sum64() ^ uint64(len(text))
}

// shippedTree finds the nodes of a text.
//
// The file is a row of records: 8 bytes of key, 4 bytes of length, 4 bytes of
// node count, all little-endian, and the nodes in the order of a walk.
func shippedTree(text []byte) *node {
	key := treeKey(text)
	for rest := shippedTrees; len(rest) >= 16; {
		size, count := le32(rest[8:]), le32(rest[12:])
		// A node takes at least four bytes.
		if uint64(len(rest)-16) < uint64(size) || count == 0 || count > size/4 {
			return nil
		}
		if le64(rest) == key {
			r := treeReader{text: rest[16 : 16+size], slab: make([]node, count)}
			root := &r.take(1)[0]
			r.node(root)
			if r.broken || r.text != "" {
				return nil
			}
			return root
		}
		rest = rest[16+size:]
	}
	return nil
}

func le32(s string) uint32 {
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func le64(s string) uint64 { return uint64(le32(s)) | uint64(le32(s[4:]))<<32 }

// treeReader reads nodes without copying their texts.
type treeReader struct {
	text   string
	slab   []node
	broken bool
}

func (r *treeReader) take(n int) []node {
	if n > len(r.slab) {
		r.broken = true
		return make([]node, n)
	}
	taken := r.slab[:n:n]
	r.slab = r.slab[n:]
	return taken
}

func (r *treeReader) number() int {
	n, shift := 0, 0
	for i := range len(r.text) {
		c := r.text[i]
		n |= int(c&0x7f) << shift
		if c < 0x80 {
			r.text = r.text[i+1:]
			return n
		}
		if shift += 7; shift > 28 {
			break
		}
	}
	r.broken = true
	return 0
}

func (r *treeReader) node(n *node) {
	head := r.number()
	n.kind, n.quoted = nodeKind(head>>1), head&1 != 0
	n.line, n.col = int32(r.number()), int32(r.number())
	size := r.number()
	if r.broken || n.kind > mappingNode {
		r.broken = true
		return
	}
	if n.kind == scalarNode {
		if size > len(r.text) {
			r.broken = true
			return
		}
		n.value, r.text = r.text[:size], r.text[size:]
		return
	}
	if size == 0 || size > len(r.slab) {
		r.broken = r.broken || size > 0
		return
	}
	n.children = r.take(size)
	for i := range n.children {
		if r.node(&n.children[i]); r.broken {
			return
		}
	}
}

// appendTree writes what shippedTree reads.
func appendTree(out []byte, text []byte, root *node) []byte {
	nodes, count := appendNode(nil, root)
	out = binary.LittleEndian.AppendUint64(out, treeKey(text))
	out = binary.LittleEndian.AppendUint32(out, uint32(len(nodes)))
	out = binary.LittleEndian.AppendUint32(out, uint32(count))
	return append(out, nodes...)
}

func appendNode(out []byte, n *node) ([]byte, int) {
	head := uint64(n.kind) << 1
	if n.quoted {
		head |= 1
	}
	out = binary.AppendUvarint(out, head)
	out = binary.AppendUvarint(out, uint64(n.line))
	out = binary.AppendUvarint(out, uint64(n.col))
	if n.kind == scalarNode {
		out = binary.AppendUvarint(out, uint64(len(n.value)))
		return append(out, n.value...), 1
	}
	out = binary.AppendUvarint(out, uint64(len(n.children)))
	count := 1
	for i := range n.children {
		var c int
		out, c = appendNode(out, &n.children[i])
		count += c
	}
	return out, count
}
