"""Who a person is, which camera took an image, and what is junk: decided here, for everyone.

Readers, embedding, search, retrieval, galleries and training all ask these modules, so that one
name means one person and one camera wherever it comes from:

- `unknown` for a single identity, camera or tracklet: is it junk, is it known;
- `spelling` for names of people: which are one, which number each gets, which are nearly the same;
- `file_names` for a single file or folder name;
- `identification` for all images of a folder at once, and for one image beside such a folder.
"""
