// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"reflect"
	"time"
)

// A decoder gives the merged tree its Go types, and puts the defaults where
// nothing stands. What a field is called is looked up once per type, not once
// per service: of 10,000 services that is most of the work.
type decoder struct {
	plans map[planKey][]fieldPlan
}

type planKey struct {
	keys *key // the first of the keys
	typ  reflect.Type
}

// A fieldPlan says where the value of a key goes.
type fieldPlan struct {
	key   *key
	index []int
	def   reflect.Value // the default with its Go type; invalid if there is none
}

// decode fails only if the table and the raw types disagree, which is a bug.
func decode(tree map[string]any) (r raw, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	d := decoder{plans: map[planKey][]fieldPlan{}}
	d.object(table.keys, tree, reflect.ValueOf(&r).Elem())
	return r, nil
}

func (d *decoder) object(keys []key, m map[string]any, dst reflect.Value) {
	for _, f := range d.plan(keys, dst.Type()) {
		to := dst.FieldByIndex(f.index)
		v, ok := m[f.key.name]
		switch {
		case ok || f.key.kind == kObject:
			d.set(f.key, v, to)
		case f.def.IsValid():
			to.Set(f.def)
		}
	}
}

// plan looks up the fields of a type. Fields of embedded structs count as its own.
func (d *decoder) plan(keys []key, typ reflect.Type) []fieldPlan {
	id := planKey{&keys[0], typ}
	if p, ok := d.plans[id]; ok {
		return p
	}
	index := map[string][]int{}
	for _, f := range reflect.VisibleFields(typ) {
		index[f.Tag.Get("key")] = f.Index
	}
	var plan []fieldPlan
	for i := range keys {
		f := fieldPlan{key: &keys[i], index: index[keys[i].name]}
		if keys[i].def != "" {
			f.def = reflect.New(typ.FieldByIndex(f.index).Type).Elem()
			d.set(&keys[i], keys[i].defaultValue(), f.def)
		}
		plan = append(plan, f)
	}
	d.plans[id] = plan
	return plan
}

// asMap is the map, or none.
func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// set stores what check has found right. What has a problem is left zero, not
// set to its default, so that nothing else is blamed for the default.
func (d *decoder) set(k *key, v any, to reflect.Value) {
	switch k.kind {
	case kObject:
		d.object(k.keys, asMap(v), to)
	case kVariant:
		m := asMap(v)
		if typ, _ := m["type"].(string); k.variant(typ) != nil {
			d.object(k.variant(typ).keys, m, to)
		}
	case kMap:
		d.byName(k, asMap(v), to)
	case kNumbers:
		var out map[string]float64
		for name, n := range asMap(v) {
			if out == nil {
				out = map[string]float64{}
			}
			out[name], _ = n.(float64)
		}
		to.Set(reflect.ValueOf(out))
	case kPins:
		var out map[string]string
		for name, s := range asMap(v) {
			if out == nil {
				out = map[string]string{}
			}
			out[name], _ = s.(string)
		}
		to.Set(reflect.ValueOf(out))
	case kNamed:
		d.words(k, asMap(v), to)
	case kList:
		items, _ := v.([]any)
		to.Set(reflect.MakeSlice(to.Type(), len(items), len(items)))
		for i, item := range items {
			if k.elem.scalar() {
				setScalar(k.elem, item, to.Index(i))
			} else {
				d.set(k.elem, item, to.Index(i))
			}
		}
	default:
		setScalar(k, v, to)
	}
}

// byName fills a map of names, of structs or of pointers to them.
func (d *decoder) byName(k *key, m map[string]any, to reflect.Value) {
	typ := to.Type().Elem()
	to.Set(reflect.MakeMapWithSize(to.Type(), len(m)))
	for name, sub := range m {
		if typ.Kind() == reflect.Pointer {
			p := reflect.New(typ.Elem())
			d.set(k.elem, sub, p.Elem())
			to.SetMapIndex(reflect.ValueOf(name), p)
			continue
		}
		v := reflect.New(typ).Elem()
		d.set(k.elem, sub, v)
		to.SetMapIndex(reflect.ValueOf(name), v)
	}
}

// words fills a map of single words; nil if there is none.
func (d *decoder) words(k *key, m map[string]any, to reflect.Value) {
	if len(m) == 0 {
		return
	}
	to.Set(reflect.MakeMapWithSize(to.Type(), len(m)))
	for name, word := range m {
		v := reflect.New(to.Type().Elem()).Elem()
		setScalar(k.elem, word, v)
		to.SetMapIndex(reflect.ValueOf(name), v)
	}
}

func setScalar(k *key, v any, to reflect.Value) {
	switch v := v.(type) {
	case bool:
		to.SetBool(v)
	case float64:
		to.SetFloat(v)
	case int:
		if to.CanUint() {
			to.SetUint(uint64(v))
			return
		}
		to.SetInt(int64(v))
	case string:
		if k.kind != kDuration {
			to.SetString(v)
			return
		}
		d, err := time.ParseDuration(v)
		if err != nil {
			panic("duration of " + k.name + ": " + err.Error())
		}
		to.SetInt(int64(d))
	}
}
