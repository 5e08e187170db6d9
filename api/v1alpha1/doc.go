// Package v1alpha1 is the API raftsman.dev/v1alpha1: the RaftCluster, its defaults and rules, and the
// closed set of its conditions, reasons and events. It holds no behaviour.
//
// +kubebuilder:object:generate=true
// +groupName=raftsman.dev
package v1alpha1
