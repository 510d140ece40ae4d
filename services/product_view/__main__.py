"""`python -m services.product_view`"""

import sys

from services.command import main
from services.product_view.service import SERVICE

sys.exit(main(SERVICE))
