"""The families of ceph/s3-tests with their budgets, and what of the suite is not applicable to Cairn, with the reason.

A family is found by the first pattern that matches a case's name without `test_`; its budget is how many of its cases are meant to
pass. A case that does not pass is not applicable if it has one of the marks or matches the pattern. One that fails because AWS documents
another answer than the suite expects still counts as failed; the page gives that reason in place of the assertion.
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

FAILED_BY_DESIGN = [
    ("AWS refuses another customer's key with 403 AccessDenied; the suite expects 400", r"encryption_sse_c_(other_key|multipart_bad_download)$"),
    ("AWS wants the customer's key with a completion only where the upload was created with a checksum", r"copy_part_enc\[sse-.*-sse-c-"),
    ("AWS answers a part number beyond the last with 416 InvalidPartNumber; the suite expects 400 InvalidPart", r"(multipart_(single_)?|non_multipart_(sse_c_)?)get_part$"),
    ("the suite reads without the customer's key at the end, and whoever lacks it learns of no part", r"multipart_sse_c_get_part$"),
    ("AWS answers a checksum that cannot be one with InvalidRequest; BadDigest is for one that does not match", r"(object|multipart)_checksum_(sha256|crc64nvme)$"),
    ("AWS wants each part's checksum repeated where the upload's is over the parts' checksums", r"get_multipart_checksum_object_attributes$"),
    ("AWS says x-amz-delete-marker only where it is true", r"delete_marker_(expiration|nonversioned)$"),
    ("AWS returns the prefix encoded where encoding-type=url was asked for, and this SDK does not decode it", r"bucket_list_prefix_unreadable$"),
    ("AWS returns metadata beyond ASCII as an RFC 2047 encoded word", r"object_set_get_unicode_metadata$"),
    ("AWS answers a copy range beyond the source with InvalidArgument", r"multipart_copy_invalid_range$"),
    ("AWS answers an X-Amz-Expires beyond its bounds with 400 AuthorizationQueryParametersError", r"object_raw_(get_x_amz_expires_out|put_authenticated_expired)"),
    ("AWS answers AccessControlListNotSupported (400) where a bucket has no lists", r"(create_bucket|put_bucket_ownership)_bucket_owner_enforced$"),
    ("AWS answers 200 in us-east-1 when an owner creates a bucket again", r"bucket_recreate_(new|overwrite)_acl$"),
    ("AWS takes its default key where SSE-KMS names none", r"sse_kms_no_key$"),
    ("AWS refuses a body without a length with 411 MissingContentLength", r"object_write_with_chunked_transfer_encoding$"),
    ("AWS wants parts in ascending order; the suite lists the same part twice", r"multipart_resend_first_finishes_last$"),
    ("a list on the object takes s3:PutObjectAcl, which a bucket open to writers does not give", r"post_object_(anonymous_request|set_success_code|set_invalid_success_code|tags_anonymous_request)$"),
    ("an upload belongs to the owner of its bucket, who does not know the name of another vault that began it", r"list_multipart_upload_owner$"),
    ("the suite's SDK signs the request after the suite has spoilt it", r"(bucket|object)_create_bad_authorization_(empty|none)$|object_create_bad_contentlength_none$"),
    ("the suite's SDK sends the name as good UTF-8, so there is only no such object", r"object_read_unreadable$"),
    ("copies between vaults are not implemented", r"bucket_policy_upload_part_copy$"),
    ("the suite runs without a region's name", r"bucket_get_location$"),
    ("a store with one storage class has no transitions", r"lifecycle_transition_set_invalid_date$"),
    ("the suite's own buckets of other cases are still there", r"list_buckets_paginated$"),
]
