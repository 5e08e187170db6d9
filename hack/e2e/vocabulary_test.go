package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"raftsman.dev/hack/e2e/kube"
)

// constants are the words that api/v1alpha1 declares, by the constants' names, as the record spells them; and the
// columns of RaftCluster.
func constants(t *testing.T) map[string]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/vocabulary.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{"Condition": kube.WordCondition, "Reason": kube.WordReason, "Event": kube.WordEvent}
	words := map[string]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		lit, ok := v.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		for kind, prefix := range kinds {
			if strings.HasPrefix(v.Names[0].Name, kind) {
				if word, err := strconv.Unquote(lit.Value); err == nil {
					words[v.Names[0].Name] = prefix + word
				}
			}
		}
		return true
	})
	maps.Copy(words, columnNames(t))
	return words
}

// columnNames reads the columns from their markers on RaftCluster, as kubectl spells them.
func columnNames(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../api/v1alpha1/types.go")
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]string{}
	for _, m := range regexp.MustCompile(`\+kubebuilder:printcolumn:name=(\w+)`).FindAllStringSubmatch(string(text), -1) {
		words["column "+m[1]] = kube.WordColumn + strings.ToUpper(m[1])
	}
	return words
}

// TestConstantsAreFound needs no cluster: each kind of word is read from the API.
func TestConstantsAreFound(t *testing.T) {
	kinds := map[string]int{}
	for _, word := range constants(t) {
		kind, _, _ := strings.Cut(word, " ")
		kinds[kind]++
	}
	if kinds["condition"] < 7 || kinds["reason"] < 25 || kinds["event"] < 13 || kinds["column"] < 10 {
		t.Errorf("found %v: this test checks too little", kinds)
	}
}

// vocabulary demands that every condition, reason, event and column of the API was seen on the API server, of real
// members, and nothing that the API does not know. What earlier runs have recorded counts; and while scenarios are
// missing so may words be.
func (s *suite) vocabulary(t *testing.T, scenarios int) {
	known, seen := constants(t), s.seen.Words()
	for _, r := range s.records {
		seen = append(seen, r.Words...)
	}
	slices.Sort(seen)
	seen = slices.Compact(seen)
	whole := len(s.records) == scenarios
	var here, missing []string
	for _, name := range slices.Sorted(maps.Keys(known)) {
		switch {
		case slices.Contains(seen, known[name]):
			here = append(here, name)
		case whole:
			t.Errorf("%s was not seen in this run", name)
		default:
			missing = append(missing, name)
		}
	}
	t.Logf("seen: %v", here)
	t.Logf("left to scenarios that have not run: %v", missing)
	words := append(slices.Collect(maps.Values(known)), kube.WordColumn+"NAME") // which kubectl adds
	for _, word := range seen {
		if !slices.Contains(words, word) {
			t.Errorf("the operator said %q, which is not in the vocabulary", word)
		}
	}
}
