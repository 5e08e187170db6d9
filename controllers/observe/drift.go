package observe

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/controllers/resource"
)

// outdated names the objects that are absent, were applied from another spec, or have been changed by
// somebody else since.
func (o Observer) outdated(ctx context.Context, s *Sight, sizes resource.Sizes) error {
	objects, err := resource.All(s.Cluster, o.Defaults, sizes)
	if err != nil {
		return err
	}
	for _, want := range objects {
		kind := want.GetObjectKind().GroupVersionKind().Kind
		have := reflect.New(reflect.TypeOf(want).Elem()).Interface().(client.Object)
		err := o.Objects.Get(ctx, client.ObjectKeyFromObject(want), have)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("read %s %s: %w", kind, client.ObjectKeyFromObject(want), err)
		}
		same := err == nil && have.GetAnnotations()[api.AnnotationApplied] == want.GetAnnotations()[api.AnnotationApplied]
		if same {
			if same, err = holds(have, want); err != nil {
				return fmt.Errorf("compare %s %s: %w", kind, client.ObjectKeyFromObject(want), err)
			}
		}
		if !same {
			s.Seen.Outdated = append(s.Seen.Outdated, kind+" "+want.GetName())
		}
	}
	return nil
}

// holds says whether an object has everything that is wanted of it; what others have added does not count.
func holds(have, want client.Object) (bool, error) {
	h, err := runtime.DefaultUnstructuredConverter.ToUnstructured(have)
	if err != nil {
		return false, err
	}
	w, err := runtime.DefaultUnstructuredConverter.ToUnstructured(want)
	if err != nil {
		return false, err
	}
	delete(w, "status")
	// The cache leaves out what every object of a kind has in common.
	delete(w, "apiVersion")
	delete(w, "kind")
	return covers(h, w), nil
}

// covers says whether have holds want: maps by key, lists of named things by name, other lists in order.
func covers(have, want any) bool {
	switch w := want.(type) {
	case nil:
		return true
	case map[string]any:
		h, _ := have.(map[string]any)
		for key, value := range w {
			if !covers(h[key], value) {
				return false
			}
		}
		return true
	case []any:
		h, _ := have.([]any)
		return coversList(h, w)
	}
	return reflect.DeepEqual(have, want)
}

func coversList(have, want []any) bool {
	for i, w := range want {
		if name, ok := nameOf(w); ok {
			at := slices.IndexFunc(have, func(h any) bool { n, ok := nameOf(h); return ok && n == name })
			if at < 0 || !covers(have[at], w) {
				return false
			}
			continue
		}
		if len(have) != len(want) || !covers(have[i], w) {
			return false
		}
	}
	return true
}

func nameOf(v any) (string, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return "", false
	}
	name, ok := m["name"].(string)
	return name, ok
}
