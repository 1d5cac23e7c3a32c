"""The families of ceph/s3-tests with their budgets, and what of the suite is not applicable to Cairn, with the reason.

A family is found by the first pattern that matches a case's name without `test_`; its budget is how many of its cases are meant to
pass. A case that does not pass is not applicable if it has one of the marks or matches the pattern.
"""

FAMILIES = [
    ("bucket logging", r"bucket_logging|(put|rm)_bucket_logging", 0),
    ("copies between encryptions", r"copy_(part_)?enc\[", 45),
    ("default and SSE-S3, SSE-KMS encryption", r"(sse_s3|sse_kms|.*bucket_encryption_|put_obj_enc|bucket_policy_put_obj_(s3|kms))", 36),
    ("SSE-C", r"encrypt|get_sse_c|.*sse_c_get_part", 16),
    ("listing", r"bucket_list|basic_key|bucketv?2?_notexist", 83),
    ("POST policy uploads", r"post_object", 30),
    ("object lock", r"object_lock", 34),
    ("lifecycle, restore, tiers", r"lifecycle|restore|read_through|delete_marker_expiration", 18),
    ("bucket policy", r"(bucket(v2)?_policy|set_get_del_bucket_policy|.*_bucket_policy$|.*policy_status|head_object_404_with_policy|get_nonpublic)", 22),
    ("public access block", r".*public_(block|acls?|put|object|policy|restrict)|get_(undefined_)?public", 8),
    ("access control lists", r"(bucket|object|versioned_object)(_header|_put)?(_canned)?_(bad_canned_)?acl|access_bucket|bucket_put_bad|put_bucket_acl|object_put_acl|object_read_unreadable|.*header_acl", 24),
    ("ownership controls", r"(create_bucket|put_bucket_owner)", 3),
    ("tagging", r".*_tag(ging|s)?(_|$)", 13),
    ("CORS", r"cors|set_cors", 7),
    ("versioning", r"versioning|versioned|delete_marker", 21),
    ("conditional writes and deletes", r"((multipart_)?put_(current_)?object_(current_)?if|multipart_put_(current_)?object_if|delete_objects?_.*if_match)", 17),
    ("multipart", r"multipart|abort_multipart|list_multipart|non_multipart|upload_part|atomic_multipart", 32),
    ("copies", r"object_copy|copy_object", 18),
    ("checksums and attributes", r"object_checksum|get_.*attributes|get_object_attributes", 7),
    ("requests with odd headers", r"(object|bucket)_create_(bad|date)|object_acl_create", 18),
    ("buckets", r"bucket|buckets|list_buckets|head_bucket|expected_bucket|account_usage", 32),
    ("objects", r".*", 62),
]

NOT_APPLICABLE = [
    ("bucket logging is out: no log is delivered into buckets, the activity log is the record", {"bucket_logging", "bucket_logging_cleanup", "fails_without_logging_rollover"}, r"bucket_logging|put_bucket_logging|rm_bucket_logging"),
    ("Signature Version 2 is refused", {"auth_aws2"}, r".*_v2$|.*aws2$"),
    ("tiers in other clouds are an extension of ceph", {"cloud_transition", "cloud_restore", "target_by_bucket"}, r"read_through|restore_object_|restore_noncur"),
    ("a store with one storage class has no transitions", {"lifecycle_transition"}, None),
    ("appending to objects is an extension of ceph", {"appendobject"}, None),
    ("torrents are out", set(), r".*torrent"),
    ("usage figures of the gateway are an extension of ceph", set(), r"account_usage|head_bucket_usage"),
    ("unordered listing is an extension of ceph", set(), r"bucket_list(v2)?_unordered"),
    ("tenants are an extension of ceph", set(), r".*tenant"),
    ("there is no IAM; credentials belong to vaults", {"iam_account", "iam_user", "iam_role"}, None),
    ("forms signed with Signature Version 2 are refused", set(), r"post_object_(?!anonymous|set_success|set_invalid|tags_anonymous)|.*_post_object_authenticated_request"),
    ("bucket names are unique in a vault only, and what another vault never shared is not there", set(), r"bucket_create_exists_nonowner|object_copy_not_owned_bucket$|object_raw_get_bucket_gone|object_delete_key_bucket_gone"),
    ("every object belongs to the owner of its bucket", set(), r"object_acl_canned_bucketowner|(create|put)_bucket_(ownership_)?(bucket_owner_preferred|object_writer)|bucket_policy_put_obj_copy_source"),
    ("the suite sets the header on another client than the one that asks, or expects an allow to deny", set(), r"bucket_policy_put_obj_request_obj_tag|bucket_policy_set_condition_operator_end"),
    ("ACL grants to accounts other than the owner are out", set(), r"object_acl_full_control_verify_attributes|object_copy_not_owned_object_bucket|(bucket|object)_acl_grant|bucket_acl_revoke|.*header_acl_grants|object_acl_(write|read)(acp)?$|object_acl$|bucket_policy_put_obj_grant|put_bucket_acl_grant"),
    ("AWS does otherwise (the suite says so itself)", {"fails_on_aws"}, None),
]
