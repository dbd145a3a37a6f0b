// SPDX-License-Identifier: Apache-2.0

package definitions

// CheckRevision decodes the record of a revision.
func CheckRevision(data []byte) error {
	_, err := decodeRevision(data)
	return err
}
