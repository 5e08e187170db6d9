package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"raftsman.dev/hack/e2e/kube"
)

// expected are the constants of api/v1alpha1 that this suite answers for: its scenarios bring each of them
// about on real members. For all others controllers/life answers, with simulated members on a real API
// server: its own check demands every single constant.
func expected() []string {
	return []string{
		"ConditionReady", "ConditionAvailable", "ConditionProgressing", "ConditionDegraded", "ConditionInitialized", "ConditionReconciling",
		"ReasonQuorumHealthy", "ReasonQuorumLost", "ReasonWaitingForFirstMember", "ReasonForming", "ReasonAddingLearner",
		"ReasonPromotingLearners", "ReasonTransferringLeadership", "ReasonRemovingMember",
		"ReasonDeletingVolume", "ReasonReplacingMember", "ReasonOpeningToClients", "ReasonApplyingObjects", "ReasonMemberUnhealthy",
		"EventMemberAdded", "EventMemberPromoted", "EventMemberRemoved", "EventMemberReplaced", "EventLeadershipTransferred",
		"EventScaleUp", "EventScaleDown", "EventQuorumLost", "EventQuorumRestored",
		"ReasonRollingUpdate", "EventPodRolled", "EventRollingUpdateStarted", "EventRollingUpdateCompleted", "ReasonHibernated",
		"ReasonExpandingVolumes", "ReasonVolumeExpansionRefused", "ReasonLowDiskSpace", "EventVolumeExpanded",
	}
}

// constants are the words that api/v1alpha1 declares, by the constants' names, as the record spells them.
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
	return words
}

// TestExpectedAreConstants needs no cluster: it keeps the list above in step with the API.
func TestExpectedAreConstants(t *testing.T) {
	known := constants(t)
	if len(known) < 30 {
		t.Fatalf("only %d constants found: this test checks nothing", len(known))
	}
	for _, name := range expected() {
		if known[name] == "" {
			t.Errorf("%s is no constant of api/v1alpha1 any more", name)
		}
	}
}

// vocabulary demands that everything this suite answers for was seen on the API server, with words that
// the API knows, and lists what only controllers/life has seen. What earlier runs have recorded counts; and while
// scenarios are missing so may words be.
func (s *suite) vocabulary(t *testing.T, scenarios int) {
	known, seen := constants(t), s.seen.Words()
	for _, r := range s.records {
		seen = append(seen, r.Words...)
	}
	slices.Sort(seen)
	seen = slices.Compact(seen)
	whole := len(s.records) == scenarios
	var here, missing, elsewhere []string
	for _, name := range slices.Sorted(maps.Keys(known)) {
		switch {
		case slices.Contains(seen, known[name]):
			here = append(here, name)
		case slices.Contains(expected(), name) && whole:
			t.Errorf("%s was not seen in this run", name)
		case slices.Contains(expected(), name):
			missing = append(missing, name)
		default:
			elsewhere = append(elsewhere, name)
		}
	}
	t.Logf("seen here: %v", here)
	t.Logf("left to scenarios that have not run: %v", missing)
	t.Logf("left to controllers/life: %v", elsewhere)
	words := slices.Collect(maps.Values(known))
	for _, word := range seen {
		if !strings.HasPrefix(word, kube.WordColumn) && !slices.Contains(words, word) {
			t.Errorf("the operator said %q, which is not in the vocabulary", word)
		}
	}
}
