// Package plan is the operator's judgement: facts about one RaftCluster in, one Step with its reason out.
// It performs nothing, reads no clock and keeps no state, so the same observation always gives the same
// step. Rules are an ordered slice; the first that speaks wins, and the order is the policy.
//
// What a rule may rely on from last time is only what status latches (Latched): the cluster ID with its
// founder, that the cluster was once formed in full, the size to come back to after hibernation, and the
// operation that was announced. Everything else is what the members and the API server say now. A member
// that does not answer is unknown: it counts as failed in every projection and as empty in none.
package plan
