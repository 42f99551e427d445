"""Object stores: a folder of this machine, and a bucket of Amazon S3, Google Cloud Storage or Azure Blob.

`folder` needs nothing. `bucket` stands on obstore, which comes with an extra: whoever needs a bucket imports it when he
opens one. `addresses` says what a bucket is called and how it is reached, `clouds` what differs between the three,
`answers` what their refusals mean. `versions` is a bucket of S3 that keeps and locks versions, `s3` how it is asked,
`guarding` whether there is one, and `signing` how that is asked. Their twin in memory is `adapters.memory.store`.
"""

from backstay.adapters.objectstore.addresses import Address as Address
from backstay.adapters.objectstore.addresses import Patience as Patience
from backstay.adapters.objectstore.addresses import Reach as Reach
from backstay.adapters.objectstore.folder import FolderStore as FolderStore

__all__ = ["Address", "FolderStore", "Patience", "Reach"]
