package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group and Version name this API.
const (
	Group   = "raftsman.dev"
	Version = "v1alpha1"
	// Kind is the one kind of the group.
	Kind = "RaftCluster"
)

// GroupVersion is Group and Version as the API machinery wants them.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: Version}
}

// AddToScheme makes the group's types known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(), &RaftCluster{}, &RaftClusterList{})
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}
