package clients

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"raftsman.dev/hack/e2e/members"
)

// normaliser replaces what two systems cannot have equal: by what it stands for where that is known (IDs, addresses and
// names of members, leases), so that a wrong one shows; by its kind where it is not (times, sizes, terms, indexes).
type normaliser struct {
	known  []known
	hashes map[string]string
}

// known is a text that stands for something.
type known struct {
	text   *regexp.Regexp
	means  string
	length int // of the text: longer ones are replaced first
}

// newNormaliser knows a group's members, by their rank.
func newNormaliser(g *group) *normaliser {
	n := &normaliser{hashes: map[string]string{}}
	n.number(g.cluster, "CLUSTER")
	for i, m := range g.members {
		n.number(m.id, fmt.Sprintf("MEMBER-%d", i))
		n.text(m.Client, fmt.Sprintf("CLIENT-%d", i))
		n.text(m.Peer, fmt.Sprintf("PEER-%d", i))
		n.text(m.Name, fmt.Sprintf("NAME-%d", i))
	}
	return n
}

// number is an ID, in hexadecimal or decimal.
func (n *normaliser) number(id uint64, means string) {
	n.text(fmt.Sprintf("%016x", id), means)
	n.text(fmt.Sprintf("%x", id), means)
	n.text(fmt.Sprint(id), means)
	n.text(fmt.Sprint(int64(id)), means)
}

func (n *normaliser) text(text, means string) {
	n.known = append(n.known, known{regexp.MustCompile(`\b` + regexp.QuoteMeta(text) + `\b`), means, len(text)})
	slices.SortStableFunc(n.known, func(a, b known) int { return cmp.Compare(b.length, a.length) })
}

// kinds are what is only known by where it stands. Zero stays: where etcd writes something, zero is none.
var kinds = []struct {
	what *regexp.Regexp
	kind string
}{
	{regexp.MustCompile(`("raft_term":|"raftTerm":|"RaftTerm" : )[1-9]\d*`), "${1}TERM"},
	{regexp.MustCompile(`("raftIndex":|"raftAppliedIndex":|"RaftIndex" : |"RaftAppliedIndex" : )[1-9]\d*`), "${1}INDEX"},
	{regexp.MustCompile(`("dbSize":|"dbSizeInUse":|"dbSizeQuota":|"DBSize" : |"DBSizeInUse" : |"DBSizeQuota" : )[1-9]\d*`), "${1}SIZE"},
	{regexp.MustCompile(`(, |[│|] +)[1-9][\d.]* [kMGT]?B\b`), "${1}SIZE"},
	{regexp.MustCompile(`(, |[│|] +)-?\d+%`), "${1}PERCENT"},
	{regexp.MustCompile(`((?:true|false)(?:, | +[│|] +)(?:true|false)(?:, | +[│|] +))[1-9]\d*(, | +[│|] +)[1-9]\d*(, | +[│|] +)[1-9]\d*`), "${1}TERM${2}INDEX${3}INDEX"},
	{regexp.MustCompile(`(took = |[Tt]ook |"took":"|"Took" : |[│|] +)(\d+m)?\d+(\.\d+)?(ns|µs|ms|s)\b`), "${1}DURATION"},
	{regexp.MustCompile(`"ts":"[^"]+"`), `"ts":"TIME"`},
	{regexp.MustCompile(`etcd-endpoints://0x[0-9a-f]+/`), "etcd-endpoints://POINTER/"},
	{regexp.MustCompile(`LocalAddr: '127\.0\.0\.1:\d+'`), "LocalAddr: PORT"},
	{regexp.MustCompile(` {2,}`), " "},
	{regexp.MustCompile(`─+`), "─"},
}

var (
	// ttls keep the time of a lease exact; what remains of it may be a little less.
	ttls   = regexp.MustCompile(`(TTL\()(\d+)(s?\))(?:(, remaining\()(\d+)(s\)))?`)
	fields = regexp.MustCompile(`(?s)("ttl":|"TTL" : )(\d+)(.{1,3}"(?:granted-ttl":|GrantedTTL" : ))(\d+)`)
	// attached are the keys of a lease, which etcd lists in the order of a map.
	attached = regexp.MustCompile(`(attached keys\(\[|"keys":\[)([^\]]*)\]`)
	hashes   = regexp.MustCompile(`("hash":|"Hash" : |CLIENT-\d, |CLIENT-\d +[│|] +)([1-9]\d{3,9})\b`)
)

// slack is how many seconds a lease may have lost since it was granted: what the script may take on a busy machine.
const slack = 120

// normal is the output with everything replaced.
func (n *normaliser) normal(output string) string {
	for _, k := range n.known {
		output = k.text.ReplaceAllLiteralString(output, k.means)
	}
	output = hashes.ReplaceAllStringFunc(output, func(found string) string {
		parts := hashes.FindStringSubmatch(found)
		if n.hashes[parts[2]] == "" {
			n.hashes[parts[2]] = fmt.Sprintf("HASH-%d", len(n.hashes))
		}
		return parts[1] + n.hashes[parts[2]]
	})
	output = ttls.ReplaceAllStringFunc(output, func(found string) string {
		p := ttls.FindStringSubmatch(found)
		if p[4] == "" {
			return p[1] + p[2] + " seconds" + strings.TrimPrefix(p[3], "s")
		}
		return p[1] + p[2] + " seconds)" + p[4] + nearly(p[5], p[2]) + ")"
	})
	output = fields.ReplaceAllStringFunc(output, func(found string) string {
		p := fields.FindStringSubmatch(found)
		return p[1] + nearly(p[2], p[4]) + p[3] + p[4]
	})
	output = attached.ReplaceAllStringFunc(output, func(found string) string {
		p := attached.FindStringSubmatch(found)
		keys := strings.FieldsFunc(p[2], func(r rune) bool { return r == ' ' || r == ',' })
		slices.Sort(keys)
		return p[1] + strings.Join(keys, " ") + "]"
	})
	for _, k := range kinds {
		output = k.what.ReplaceAllString(output, k.kind)
	}
	return output
}

// nearly is what remains of a lease, if it is about what was granted.
func nearly(left, granted string) string {
	l, _ := strconv.Atoi(left)
	if g, _ := strconv.Atoi(granted); l <= g && l >= g-slack {
		return "ABOUT-" + granted
	}
	return left
}

// TestNormalise: what is known is told apart, what is not is named by its kind, and nothing else changes.
func TestNormalise(t *testing.T) {
	n := newNormaliser(&group{cluster: 0xabc, members: []*member{
		{id: 0x8e9e05c52164694d, Place: members.Place{Name: "m1", Client: "127.0.0.1:2379", Peer: "127.0.0.1:2380"}},
		{id: 17, Place: members.Place{Name: "m0", Client: "127.0.0.1:2389", Peer: "127.0.0.1:2390"}},
	}})
	n.number(0x694d9ef1a0c5cc07, "$L")
	for in, want := range map[string]string{
		`{"header":{"cluster_id":2748,"member_id":10276657743932975437,"revision":2,"raft_term":3}}`:              `{"header":{"cluster_id":CLUSTER,"member_id":MEMBER-0,"revision":2,"raft_term":TERM}}`,
		"8e9e05c52164694d, started, m1, http://127.0.0.1:2380, http://127.0.0.1:2379, false":                      "MEMBER-0, started, NAME-0, http://PEER-0, http://CLIENT-0, false",
		"127.0.0.1:2379, 8e9e05c52164694d, 3.7.3, 3.7.0, 20 kB, 16 kB, 20%, 0 B, true, false, 2, 9, 9, , , false": "CLIENT-0, MEMBER-0, 3.7.3, 3.7.0, SIZE, SIZE, PERCENT, 0 B, true, false, TERM, INDEX, INDEX, , , false",
		"127.0.0.1:2389, 1084519789":                    "CLIENT-1, HASH-0",
		"127.0.0.1:2379, 1084519789":                    "CLIENT-0, HASH-0",
		"lease 694d9ef1a0c5cc07 granted with TTL(600s)": "lease $L granted with TTL(600 seconds)",
		"lease 694d9ef1a0c5cc07 granted with TTL(600s), remaining(598s), attached keys([a])": "lease $L granted with TTL(600 seconds), remaining(ABOUT-600), attached keys([a])",
		"lease 694d9ef1a0c5cc07 granted with TTL(600s), remaining(5s)":                       "lease $L granted with TTL(600 seconds), remaining(5)",
		"attached keys([b a])":                                                       "attached keys([a b])",
		`"keys":["Yg","YQ"]`:                                                         `"keys":["YQ" "Yg"]`,
		"lease 694d9ef1a0c5cc07 keepalived with TTL(600)":                            "lease $L keepalived with TTL(600 seconds)",
		`{"id":7587895707810778119,"ttl":599,"granted-ttl":600}`:                     `{"id":$L,"ttl":ABOUT-600,"granted-ttl":600}`,
		"127.0.0.1:2379 is healthy: successfully committed proposal: took = 1.234ms": "CLIENT-0 is healthy: successfully committed proposal: took = DURATION",
		"value 3.14 of m2\nkey100":                                                   "value 3.14 of m2\nkey100",
	} {
		if got := n.normal(in); got != want {
			t.Errorf("%s\nbecomes %s\nnot     %s", in, got, want)
		}
	}
}
