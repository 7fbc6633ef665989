package policy

import (
	"cmp"
	_ "embed"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"sort"
)

// The shipped profiles are parsed when jail is built, not at each start: YAML
// costs about as much as making the sandbox does. shipped.trees holds, for each
// file, a hash of its text and the nodes that parseYAML made of it; a text that
// is not in it goes through the parser. So the file can be out of date (a test
// says so) but never wrong.
//
//go:generate go test -run "^(TestShippedTrees|TestProfilePages)$" -update .
//go:embed shipped.trees
var shippedTrees string

// treeKey tells texts apart. Both the texts and the trees come out of the same
// binary, so nobody is there to make two texts collide.
func treeKey(text []byte) uint64 {
	h := fnv.New64a()
	h.Write(text)
	return h.Sum64() ^ uint64(len(text))
}

// shippedTree finds the nodes of a text. What it costs does not grow with the
// number of profiles: a start touches the index and the trees it uses.
//
// All numbers are little-endian. The file starts with the number of trees, 4
// bytes, and an index of treeEntry bytes for each, sorted by key: 8 bytes of
// key, and 4 each for where the tree is, its length and its count of nodes. The
// nodes of a tree lie in the order of a walk.
func shippedTree(text []byte) *node {
	if len(shippedTrees) < 4 {
		return nil
	}
	n := int(le32(shippedTrees))
	index := shippedTrees[4:]
	if n > len(index)/treeEntry {
		return nil
	}
	key := treeKey(text)
	i := sort.Search(n, func(i int) bool { return le64(index[i*treeEntry:]) >= key })
	if i == n {
		return nil
	}
	e := index[i*treeEntry:]
	at, size, count := uint64(le32(e[8:])), uint64(le32(e[12:])), le32(e[16:])
	// A node takes at least four bytes.
	if le64(e) != key || at+size > uint64(len(shippedTrees)) || count == 0 || uint64(count) > size/4 {
		return nil
	}
	r := treeReader{text: shippedTrees[at : at+size], slab: make([]node, count)}
	root := &r.take(1)[0]
	r.node(root)
	if r.broken || r.text != "" {
		return nil
	}
	return root
}

const treeEntry = 20

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

// treesOf writes what shippedTree reads.
func treesOf(texts [][]byte, roots []*node) []byte {
	type tree struct {
		key   uint64
		nodes []byte
		count int
	}
	trees := make([]tree, len(texts))
	for i, root := range roots {
		trees[i].key = treeKey(texts[i])
		trees[i].nodes, trees[i].count = appendNode(nil, root)
	}
	slices.SortFunc(trees, func(a, b tree) int { return cmp.Compare(a.key, b.key) })
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(trees)))
	at := 4 + len(trees)*treeEntry
	for _, t := range trees {
		out = binary.LittleEndian.AppendUint64(out, t.key)
		for _, n := range []int{at, len(t.nodes), t.count} {
			out = binary.LittleEndian.AppendUint32(out, uint32(n))
		}
		at += len(t.nodes)
	}
	for _, t := range trees {
		out = append(out, t.nodes...)
	}
	return out
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
