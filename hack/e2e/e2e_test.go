package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	api "raftsman.dev/api/v1alpha1"
)

// scenario is one part of the suite, named after the promise that it holds.
type scenario struct {
	name  string
	run   func(*testing.T)
	vital bool // nothing works without it
}

// scenarios are all of them, in their order.
func (s *suite) scenarios() []scenario {
	return []scenario{
		{"install: helm install --wait and kubectl wait do what they promise", s.install, true},
		{"image: the loaded image is the Dockerfile's final stage", s.loadedImage, false},
		{"clients: put and get by Service name and at each member from another namespace", s.clients, false},
		{"scale: to five and to three under load", s.scale, false},
		{"leader killed: writes resume within 3 s", s.leaderKilled, false},
		{"all containers killed: the cluster returns with all data", s.allKilled, false},
		{"all Pods deleted: the cluster returns with all data", s.allDeleted, false},
		{"Pod and volume deleted: the member is replaced under a new ID", s.volumeDeleted, false},
		{"pod-0's volume deleted: never a second cluster", s.founderLost, false},
		{"operator killed in the middle: leader killed", s.leaderKilledWithoutOperator, false},
		{"operator killed in the middle: scale", s.scaleWithoutOperator, false},
		{"operator killed in the middle: all Pods deleted", s.allDeletedWithoutOperator, false},
		{"operator killed in the middle: Pod and volume deleted", s.volumeDeletedWithoutOperator, false},
		{"operator killed in the middle: pod-0's volume deleted", s.founderLostWithoutOperator, false},
		{"isolated leader: acknowledges nothing and steps down", s.isolatedLeader, false},
		{"stopped member: catches up from the log", s.stoppedBriefly, false},
		{"stopped member: catches up by snapshot, states are equal", s.stoppedLong, false},
		{"stale addresses: members find each other through the headless service", s.staleAddresses, false},
		{"roll: a changed template reaches every member, the leader last", s.roll, false},
		{"volumes grow: under load, and no Pod is touched", s.growVolumes, false},
		{"volumes damaged: pod-0's and another's, the members are replaced", s.volumesDamaged, false},
		{"disk full: told before it hurts, and all is well with space", s.diskFull, false},
		{"orders that cannot be carried out: told by name, and taken back", s.impossible, false},
		{"foreign volume: told, and nobody is served from it", s.foreignVolume, false},
		{"all disks lost: told, and no second cluster founded", s.allDisksLost, false},
		{"quorum lost: told in seconds with what is on every disk, and left alone", s.quorumLost, false},
		{"hibernate: to none and back, with all data", s.hibernate, false},
		{"operator killed in the middle: roll", s.rollWithoutOperator, false},
		{"leader killed in the middle: grow", s.growUnseated, false},
		{"leader killed in the middle: shrink", s.shrinkUnseated, false},
		{"leader killed in the middle: roll", s.rollUnseated, false},
		{"follower killed: nobody notices", s.followerKilled, false},
		{"transfer: leadership goes round under load", s.transfer, false},
		{"leader's Pod deleted: it hands over before it goes", s.leaderDeleted, false},
		{"volume wiped: pod-0's and another's, the members are replaced", s.volumesWiped, false},
		{"node drained: and back", s.drained, false},
		{"two nodes drained at once: the budget keeps a quorum", s.drainedTwice, false},
		{"node powered off: writes go on, the member comes back with its data", s.nodeOff, false},
		{"leader's node powered off: writes resume within 3 s", s.leaderNodeOff, false},
		{"partition between two nodes: writes go on", s.partition, false},
		{"leader's node cut off: writes resume within 3 s", s.leaderNodeCutOff, false},
		{"DNS down for a minute: writes go on", s.withoutDNS, false},
		{"API server down for a minute: writes go on", s.withoutAPI, false},
		{"size 1: comes back with all data", s.sizeOne, false},
		{"size 5: two killed at once, the leader among them", s.sizeFive, false},
		{"size 7: three killed at once, the leader among them", s.sizeSeven, false},
		{"sizes: one to three to five and back to one under load", s.sizes, false},
		{"bad image: a revert heals it unaided", s.badImage, false},
		{"paused: nothing is touched", s.paused, false},
		{"made anew: under the same name on volumes that were kept", s.anewKept, false},
		{"made anew: under the same name without its volumes", s.anewEmpty, false},
		{"status lost: the object restored from a manifest while its disks live", s.statusLost, false},
		{"two operators at once: growing and shrinking", s.twoOperators, false},
		{"operator upgraded: no Pod restarted", s.operatorUpgraded, false},
		{"chart upgraded from the previous release: no Pod restarted whose image is named", s.chartUpgraded, false},
		{"chart upgraded, image left to the operator: the members follow it", s.followersUpgraded, false},
		{"namespaced: the operator looks after its namespaces only, then after all", s.namespaced, false},
		{"columns: kubectl get shows them", s.columns, false},
		{"manifest: the one-file install works, after helm uninstall", s.manifest, false},
	}
}

// TestEndToEnd is the whole suite: scenarios on one dev cluster, in an order in which the later ones find what
// the earlier ones left. Without more the brief ones run; type pick says how all of them do, a shard of them, or those
// that have not passed yet. At the end stands a table of what clients noticed of every operation. Some of them alone, on
// a cluster that is kept between runs (until the scenario manifest, which takes the release away that install made):
//
//	RAFTSMAN_E2E=1 RAFTSMAN_E2E_KEEP=1 go test -v -count=1 -run 'TestEndToEnd/(install:|scale)' -timeout 30m .
func TestEndToEnd(t *testing.T) {
	if os.Getenv("RAFTSMAN_E2E") == "" {
		t.Skip("NOT RUN: the end-to-end tests need root, Linux and ten minutes, or an hour for all of them: `make e2e` runs them")
	}
	s := begin(t)
	began := time.Now()
	scenarios := s.scenarios()
	picked, ran := s.resume(t), 0
	defer func() { s.tell(t, len(scenarios)) }()
	for i, x := range scenarios {
		if !picked.takes(i, x.name, x.vital) {
			continue
		}
		s.scene = x.name
		ok := t.Run(x.name, func(t *testing.T) {
			ran++ // here, because -run leaves some out
			before := time.Now()
			s.say("--- %s", x.name)
			defer s.explain(t, len(s.seen.Events(0)))
			defer func() {
				took := time.Since(before).Round(time.Second)
				s.note(t, !t.Failed() && !t.Skipped(), took)
				s.say("--- failed=%v after %v: %s", t.Failed(), took, x.name)
			}()
			x.run(t)
		})
		if !ok && x.vital {
			t.Fatalf("%s failed: nothing else can work", x.name)
		}
	}
	t.Run("rights: the operator's role and the audit log agree, both ways", func(t *testing.T) { s.rights(t, ran == len(scenarios)) })
	t.Run("vocabulary: what this suite answers for was seen", func(t *testing.T) { s.vocabulary(t, len(scenarios)) })
	s.say("all scenarios took %v", time.Since(began).Round(time.Second))
}

// explain tells, when a scenario has failed, what the operator has said since it began.
func (s *suite) explain(t *testing.T, events int) {
	if !t.Failed() {
		return
	}
	t.Logf("events of RaftClusters since the scenario began:\n  %s", lines(s.seen.Events(events)))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, args := range [][]string{
		{"get", "raftclusters,pods,pvc", "-A", "-o", "wide"},
		{"logs", "-n", system, "-l", api.LabelPart + "=operator", "--tail=40"},
		{"logs", "-n", home, "-l", api.LabelCluster + "=" + name, "--tail=25", "--prefix"},
	} {
		text, err := s.k.Run(ctx, s.k.Kubectl, args...)
		t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, text)
	}
}
